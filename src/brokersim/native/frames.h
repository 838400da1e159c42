/* Knows RFC 3 frames: the twin of `decode`, `encode` and `whole_frames` of protocol/wire.py, which says what a frame is.
 *
 * Here is what clients and modules send and are sent all the time. Whatever else there is (a number or a text that does not
 * fit, any fault) is Python's, which does it anew and knows the words for it.
 */
#ifndef BROKERSIM_FRAMES_H
#define BROKERSIM_FRAMES_H

#include "known.h"

enum {
    HEADER_SIZE = 8, PROTO_SIZE = 20, PROTO_MAGIC = 0x8E, PROTO_VERSION = 1, LONG_PART = 0xFF, FRAME_MOST = 64 << 20,
    ROUTES_MOST = 1024
};
enum { FLAG_TOPIC = 0x01, FLAG_PAYLOAD = 0x02, FLAG_ROUTE = 0x08 };
static const unsigned char frame_magic[4] = {0x12, 0x00, 0xEE, 0xFF};

static PyObject *python_decode, *python_encode, *python_whole; /* see `Twin` */
static PyObject *encode_payload;                               /* of protocol/message.py */
static PyObject *empty_text;

/* Topics and routes that came last, each at the place of its hash: one look instead of a new text, with its hash to be made. */
enum { KNOWN_TEXTS = 256, TEXT_MOST = 128 };
static PyObject *known_texts[KNOWN_TEXTS];

static uint32_t big_endian(const unsigned char *at)
{
    return (uint32_t)at[0] << 24 | (uint32_t)at[1] << 16 | (uint32_t)at[2] << 8 | at[3];
}

static unsigned char *put_big_endian(unsigned char *at, uint32_t value)
{
    at[0] = value >> 24;
    at[1] = value >> 16 & 0xFF;
    at[2] = value >> 8 & 0xFF;
    at[3] = value & 0xFF;
    return at + 4;
}

/* The text of a topic or route. New; NULL without an error where that is for Python. */
static PyObject *text_of(const unsigned char *raw, Py_ssize_t size)
{
    if (size > 0 && raw[size - 1] == 0)
        size--;
    if (size <= 0)
        return Py_NewRef(empty_text);
    if (size > TEXT_MOST || memchr(raw, 0, (size_t)size) != NULL)
        return NULL;
    uint32_t hash = 2166136261u;
    for (Py_ssize_t at = 0; at < size; at++)
        hash = (hash ^ raw[at]) * 16777619u;
    PyObject **place = &known_texts[hash % KNOWN_TEXTS];
    if (*place != NULL) {
        Py_ssize_t known_size;
        const char *known = PyUnicode_AsUTF8AndSize(*place, &known_size);
        if (known != NULL && known_size == size && memcmp(known, raw, (size_t)size) == 0)
            return Py_NewRef(*place);
    }
    PyObject *text = PyUnicode_DecodeUTF8((const char *)raw, size, NULL);
    if (text == NULL) {
        PyErr_Clear();
        return NULL;
    }
    Py_XSETREF(*place, Py_NewRef(text));
    return text;
}

/* A part of up to `end`: where it begins, and its size; -1 where it does not fit. */
static Py_ssize_t part_at(const unsigned char *body, Py_ssize_t *at, Py_ssize_t end)
{
    if (*at >= end)
        return -1;
    Py_ssize_t size = body[(*at)++];
    if (size == LONG_PART) {
        if (*at + 4 > end)
            return -1;
        size = big_endian(body + *at);
        *at += 4;
    }
    return *at + size > end ? -1 : size;
}

/* The stack of routes, originator first, which stands last. New; NULL without an error where that is for Python. */
static PyObject *routes_of(const unsigned char *body, Py_ssize_t *at, Py_ssize_t end)
{
    if (*at < end && body[*at] == 0) {
        ++*at;
        return Py_NewRef(no_routes); /* as in all that a client sends and is sent */
    }
    PyObject *found = PyList_New(0), *stack = NULL;
    while (found != NULL) {
        Py_ssize_t size = part_at(body, at, end);
        PyObject *route = size <= 0 ? NULL : text_of(body + *at, size);
        int is_one = route != NULL && route != empty_text && PyList_GET_SIZE(found) < ROUTES_MOST
            && PyList_Append(found, route) == 0;
        Py_XDECREF(route);
        if (!is_one) {
            if (size == 0 && PyList_Reverse(found) == 0)
                stack = PyList_AsTuple(found);
            break;
        }
        *at += size;
    }
    Py_XDECREF(found);
    return stack;
}

/* A message of which all parts are known. New. `routes`, `topic` and `data` are taken. */
static PyObject *message_of(long kind, const unsigned char *proto, PyObject *routes, PyObject *topic, PyObject *data)
{
    uint32_t first = big_endian(proto + 12), second = big_endian(proto + 16);
    PyObject *type = PyLong_FromLong(kind), *flags = PyLong_FromLong(proto[3]);
    PyObject *userid = PyLong_FromUnsignedLong(big_endian(proto + 4));
    PyObject *rolemask = PyLong_FromUnsignedLong(big_endian(proto + 8));
    PyObject *other = PyLong_FromUnsignedLong(first);
    PyObject *matchtag = kind == EVENT ? Py_NewRef(zero) : PyLong_FromUnsignedLong(second);
    PyObject *made = NULL;
    if (topic != NULL && data != NULL && type != NULL && flags != NULL && userid != NULL && rolemask != NULL && other != NULL
        && matchtag != NULL)
        made = new_message(
            type, topic, data, flags, matchtag, userid, rolemask, Py_None, Py_None, Py_None, routes,
            kind == EVENT ? other : zero);
    if (made != NULL && kind == REQUEST)
        set(made, m_nodeid, other);
    else if (made != NULL && kind != EVENT)
        set(made, m_errnum, other);
    Py_XDECREF(type);
    Py_XDECREF(flags);
    Py_XDECREF(userid);
    Py_XDECREF(rolemask);
    Py_XDECREF(other);
    Py_XDECREF(matchtag);
    Py_XDECREF(routes);
    Py_XDECREF(topic);
    Py_XDECREF(data);
    return made;
}

/* The message in a frame's body. New; NULL without an error where that is for Python. */
static PyObject *plain_message(const unsigned char *body, Py_ssize_t size)
{
    Py_ssize_t end = size - PROTO_SIZE - 1, at = 0;
    if (end < 0 || body[end] != PROTO_SIZE)
        return NULL;
    const unsigned char *proto = body + end + 1;
    int flags = proto[3], wire_type = proto[2];
    if (proto[0] != PROTO_MAGIC || proto[1] != PROTO_VERSION || (flags & FLAG_NORESPONSE && flags & FLAG_STREAMING))
        return NULL;
    long kind = wire_type == 1 ? REQUEST : wire_type == 2 ? RESPONSE : wire_type == 4 ? EVENT : wire_type == 8 ? 7 : 0;
    if (kind == 0)
        return NULL;
    PyObject *routes = flags & FLAG_ROUTE ? routes_of(body, &at, end) : Py_NewRef(no_routes);
    if (routes == NULL)
        return NULL;
    Py_ssize_t topic_at = 0, topic_size = -1, data_at = 0, data_size = -1;
    if (flags & FLAG_TOPIC && (topic_size = part_at(body, &at, end)) >= 0) {
        topic_at = at;
        at += topic_size;
    }
    if (flags & FLAG_PAYLOAD && (data_size = part_at(body, &at, end)) >= 0) {
        data_at = at;
        at += data_size;
    }
    int is_plain = at == end && (topic_size >= 0) == !!(flags & FLAG_TOPIC) && (data_size >= 0) == !!(flags & FLAG_PAYLOAD);
    PyObject *topic = !is_plain ? NULL
        : topic_size < 0        ? Py_NewRef(empty_text)
                                : text_of(body + topic_at, topic_size);
    if (topic == NULL) {
        Py_DECREF(routes);
        return NULL;
    }
    PyObject *data =
        data_size < 0 ? Py_NewRef(Py_None) : PyBytes_FromStringAndSize((const char *)body + data_at, data_size);
    return message_of(kind, proto, routes, topic, data);
}

static PyObject *wire_decode(PyObject *Py_UNUSED(module), PyObject *body)
{
    if (PyBytes_CheckExact(body)) {
        PyObject *message = plain_message((const unsigned char *)PyBytes_AS_STRING(body), PyBytes_GET_SIZE(body));
        if (message != NULL || PyErr_Occurred())
            return message;
    }
    return PyObject_CallOneArg(python_decode, body);
}

/* Are the bytes whole frames and nothing else? */
static int are_whole(const unsigned char *bytes, Py_ssize_t size)
{
    Py_ssize_t at = 0;
    while (size - at >= HEADER_SIZE) {
        Py_ssize_t length = big_endian(bytes + at + 4);
        if (memcmp(bytes + at, frame_magic, 4) != 0 || length > FRAME_MOST || length > size - at - HEADER_SIZE)
            return 0;
        at += HEADER_SIZE + length;
    }
    return at == size;
}

static PyObject *wire_whole(PyObject *Py_UNUSED(module), PyObject *data)
{
    if (!PyBytes_CheckExact(data))
        return PyObject_CallOneArg(python_whole, data);
    const unsigned char *bytes = (const unsigned char *)PyBytes_AS_STRING(data);
    Py_ssize_t size = PyBytes_GET_SIZE(data), at = 0;
    if (!are_whole(bytes, size))
        Py_RETURN_NONE;
    PyObject *messages = PyList_New(0);
    while (messages != NULL && at < size) {
        Py_ssize_t length = big_endian(bytes + at + 4);
        PyObject *message = plain_message(bytes + at + HEADER_SIZE, length);
        if (message == NULL) {
            Py_DECREF(messages);
            return PyErr_Occurred() ? NULL : PyObject_CallOneArg(python_whole, data);
        }
        at += HEADER_SIZE + length;
        if (PyList_Append(messages, message) < 0)
            Py_CLEAR(messages);
        Py_DECREF(message);
    }
    return messages;
}

/* -- to bytes */

/* A field as a number of 32 bits; 0 where it is none, which is for Python to say. */
static int number_of(PyObject *message, Py_ssize_t offset, uint32_t *value)
{
    PyObject *field = FIELD(message, offset);
    if (field == NULL || !PyLong_CheckExact(field))
        return 0;
    int overflow;
    long long found = PyLong_AsLongLongAndOverflow(field, &overflow);
    if (overflow || found < 0 || found > 0xFFFFFFFFLL)
        return 0;
    *value = (uint32_t)found;
    return 1;
}

/* The UTF-8 of a topic or route that can be sent, or NULL. It belongs to the text. */
static const char *sendable(PyObject *text, Py_ssize_t *size)
{
    if (text == NULL || !PyUnicode_CheckExact(text))
        return NULL;
    const char *raw = PyUnicode_AsUTF8AndSize(text, size);
    if (raw == NULL)
        PyErr_Clear();
    return raw == NULL || *size == 0 || memchr(raw, 0, (size_t)*size) != NULL ? NULL : raw;
}

static Py_ssize_t part_size(Py_ssize_t size)
{
    return (size < LONG_PART ? 1 : 5) + size;
}

static unsigned char *put_part(unsigned char *at, const char *raw, Py_ssize_t size)
{
    if (size < LONG_PART)
        *at++ = (unsigned char)size;
    else {
        *at++ = LONG_PART;
        at = put_big_endian(at, (uint32_t)size);
    }
    memcpy(at, raw, (size_t)size);
    return at + size;
}

/* Bytes of the route part, 0 where Python has to see to it: the stack, each with its length, and the empty one behind. */
static Py_ssize_t routes_size(PyObject *routes)
{
    Py_ssize_t total = 1, size;
    if (routes == NULL || !PyTuple_CheckExact(routes))
        return 0;
    for (Py_ssize_t at = 0; at < PyTuple_GET_SIZE(routes); at++) {
        if (sendable(PyTuple_GET_ITEM(routes, at), &size) == NULL)
            return 0;
        total += part_size(size);
    }
    return total;
}

static unsigned char *put_routes(unsigned char *to, PyObject *routes)
{
    for (Py_ssize_t at = PyTuple_GET_SIZE(routes); at-- > 0;) {
        Py_ssize_t size;
        const char *raw = PyUnicode_AsUTF8AndSize(PyTuple_GET_ITEM(routes, at), &size);
        to = put_part(to, raw, size);
    }
    *to++ = 0;
    return to;
}

/* A frame of what is plain. New; NULL without an error where that is for Python. `payload` is bytes or None. */
static PyObject *plain_frame(PyObject *message, PyObject *payload)
{
    uint32_t type, flags, userid, rolemask, matchtag, other;
    if (!number_of(message, m_type, &type) || !number_of(message, m_flags, &flags) || flags > 0xFF
        || !number_of(message, m_userid, &userid) || !number_of(message, m_rolemask, &rolemask)
        || !number_of(message, m_matchtag, &matchtag)
        || !number_of(message, type == REQUEST ? m_nodeid : type == EVENT ? m_seq : m_errnum, &other)
        || (type != REQUEST && type != RESPONSE && type != EVENT && type != 7))
        return NULL;
    PyObject *routes = FIELD(message, m_routes), *topic = FIELD(message, m_topic);
    if (topic == NULL || !PyUnicode_CheckExact(topic))
        return NULL;
    Py_ssize_t total = PROTO_SIZE + 1, topic_size = 0, data_size = 0;
    const char *raw_topic = "";
    if (flags & FLAG_ROUTE) {
        Py_ssize_t stack = routes_size(routes);
        if (stack == 0)
            return NULL;
        total += stack;
    }
    int has_topic = PyUnicode_GET_LENGTH(topic) > 0;
    if (has_topic && (raw_topic = sendable(topic, &topic_size)) == NULL)
        return NULL;
    has_topic |= type == RESPONSE || flags & FLAG_TOPIC;
    flags &= ~(uint32_t)(FLAG_TOPIC | FLAG_PAYLOAD);
    if (has_topic) {
        flags |= FLAG_TOPIC;
        total += part_size(topic_size);
    }
    if (payload != Py_None) {
        flags |= FLAG_PAYLOAD;
        data_size = PyBytes_GET_SIZE(payload);
        total += part_size(data_size);
    }
    if (total > FRAME_MOST)
        return NULL;
    PyObject *frame = PyBytes_FromStringAndSize(NULL, HEADER_SIZE + total);
    if (frame == NULL)
        return NULL;
    unsigned char *at = (unsigned char *)PyBytes_AS_STRING(frame);
    memcpy(at, frame_magic, 4);
    at = put_big_endian(at + 4, (uint32_t)total);
    if (flags & FLAG_ROUTE)
        at = put_routes(at, routes);
    if (has_topic)
        at = put_part(at, raw_topic, topic_size);
    if (payload != Py_None)
        at = put_part(at, PyBytes_AS_STRING(payload), data_size);
    *at++ = PROTO_SIZE;
    *at++ = PROTO_MAGIC;
    *at++ = PROTO_VERSION;
    *at++ = (unsigned char)(1 << (type >> 1));
    *at++ = (unsigned char)flags;
    at = put_big_endian(at, userid);
    at = put_big_endian(at, rolemask);
    at = put_big_endian(at, other);
    put_big_endian(at, type == EVENT ? 0 : matchtag);
    return frame;
}

static PyObject *wire_encode(PyObject *Py_UNUSED(module), PyObject *message)
{
    if (is_a(message, Message)) {
        PyObject *data = FIELD(message, m_data);
        PyObject *payload = data == NULL ? NULL
            : data == Py_None || PyBytes_CheckExact(data) ? Py_NewRef(data)
                                                          : PyObject_CallOneArg(encode_payload, data);
        if (payload == NULL && PyErr_Occurred())
            return NULL;
        PyObject *frame = NULL;
        if (payload != NULL && (payload == Py_None || PyBytes_CheckExact(payload)))
            frame = plain_frame(message, payload);
        Py_XDECREF(payload);
        if (frame != NULL || PyErr_Occurred())
            return frame;
    }
    return PyObject_CallOneArg(python_encode, message);
}

#endif
