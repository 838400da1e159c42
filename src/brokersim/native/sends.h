/* Knows how requests, responses and events are sent: the twin of routing/endpoint.py, and of `fan_out` in rank.py. */
#ifndef BROKERSIM_SENDS_H
#define BROKERSIM_SENDS_H

#include "known.h"
#include "turns.h"
#include "arrivals.h"

/* -- Endpoint: sending */

/* self.pending[tag] = then, arg, message; 1 if more are open than may be */
static int open_request(PyObject *self, PyObject *tag, PyObject *then, PyObject *arg, PyObject *message)
{
    PyObject *pending = have(self, a_pending);
    if (pending == NULL)
        return -1;
    if (!PyDict_CheckExact(pending))
        return wrong_type(pending, "a dict of open requests");
    if (pending == nothing_open) {
        if ((pending = PyDict_New()) == NULL)
            return -1;
        put(self, a_pending, pending);
    }
    PyObject *open = PyTuple_Pack(3, then, arg, message);
    if (open == NULL)
        return -1;
    Py_INCREF(pending);
    int kept = PyDict_SetItem(pending, tag, open);
    Py_ssize_t many = PyDict_GET_SIZE(pending);
    Py_DECREF(pending);
    Py_DECREF(open);
    if (kept < 0 || many < FEW_OPEN)
        return kept;
    PyObject *limit = PyDict_GetItemWithError(endpoint_globals, str_open_limit);
    long most = limit == NULL ? -1 : PyLong_AsLong(limit);
    if (most < 0) {
        if (!PyErr_Occurred())
            PyErr_SetString(PyExc_NameError, "OPEN_LIMIT is no number of requests");
        return -1;
    }
    return many > most;
}

/* A request as it is made before it is known whether nodeid, cred or a tracer change anything. New; NULL where refused. */
static PyObject *make_request(
    PyObject *self, PyObject *topic, PyObject *payload, PyObject *then, PyObject *arg, PyObject *flags, PyObject *dst,
    PyObject *handler)
{
    PyObject *userid = have(self, e_userid), *rolemask = have(self, e_rolemask);
    if (userid == NULL || rolemask == NULL)
        return NULL;
    if (then == Py_None)
        return new_message(one, topic, payload, flags, zero, userid, rolemask, self, dst, handler, no_routes, zero);
    PyObject *last = have(self, e_matchtag);
    long long tag = last == NULL ? -1 : PyLong_AsLongLong(last);
    if (tag < 0) {
        if (!PyErr_Occurred())
            PyErr_SetString(PyExc_ValueError, "matchtags count up from 0");
        return NULL;
    }
    PyObject *next = PyLong_FromLongLong(tag + 1);
    if (next == NULL)
        return NULL;
    set(self, e_matchtag, next);
    PyObject *message = new_message(one, topic, payload, flags, next, userid, rolemask, self, dst, handler, no_routes, zero);
    int over = message == NULL ? -1 : open_request(self, next, then, arg, message);
    if (over > 0)
        over = done(PyObject_CallMethodObjArgs(self, str_refuse_to_ask, next, topic, NULL));
    Py_DECREF(next);
    if (over < 0)
        Py_CLEAR(message);
    return message;
}

/* Where a topic of one's own leads, as borrowed references; None, None where that is not remembered. */
static int known_route(PyObject *self, PyObject *topic, PyObject **dst, PyObject **handler)
{
    *dst = *handler = Py_None;
    PyObject *routes = have(self, e_routes);
    if (routes == NULL)
        return -1;
    if (!PyDict_CheckExact(routes))
        return wrong_type(routes, "a dict of routes");
    PyObject *route = PyDict_GetItemWithError(routes, topic);
    if (route == NULL)
        return PyErr_Occurred() ? -1 : 0;
    if (!PyTuple_CheckExact(route) || PyTuple_GET_SIZE(route) != 2)
        return wrong_type(route, "a pair of destination and handler");
    *dst = PyTuple_GET_ITEM(route, 0);
    *handler = PyTuple_GET_ITEM(route, 1);
    return 0;
}

/* Somebody else to speak for, or another rank than where the topic leads from here. 1 where it is the same old way. */
static int redirect(PyObject *message, PyObject *nodeid, PyObject *cred)
{
    int is_usual = 1;
    if (nodeid != any_node) {
        int differs = PyObject_RichCompareBool(nodeid, any_node, Py_NE);
        if (differs < 0)
            return -1;
        if (differs) {
            set(message, m_nodeid, nodeid);
            is_usual = 0; /* remembered is only where a topic leads from here */
        }
    }
    if (cred != Py_None) {
        if (!is_a(cred, Message))
            return wrong_type(cred, "a message to speak for");
        set(message, m_userid, FIELD(cred, m_userid));
        set(message, m_rolemask, FIELD(cred, m_rolemask));
        PyObject *roles = have(cred, m_rolemask);
        long bits = roles == NULL ? -1 : number(roles);
        if (failed(bits))
            return -1;
        if (!(bits & ROLE_OWNER))
            is_usual = 0; /* remembered for an owner; others' roles have to be checked */
    }
    return is_usual;
}

static PyObject *endpoint_request(PyObject *self, PyObject *const *args, Py_ssize_t given, PyObject *keywords)
{
    static const char *const known[] = {"topic", "payload", "then", "arg", "nodeid", "flags", "cred"};
    PyObject *found[] = {NULL, Py_None, Py_None, Py_None, any_node, zero, Py_None};
    if (read_arguments("request", args, given, keywords, known, found, 7) < 0 || count(self, 0) < 0)
        return NULL;
    PyObject *topic = found[0], *then = found[2], *flags = found[5], *dst, *handler, *message = NULL;
    if (then == Py_None)
        flags = flags == zero ? Py_NewRef(norespond) : PyNumber_Or(flags, norespond);
    else
        Py_INCREF(flags);
    /* No Python runs between the look at the route and the message that holds what was found. */
    if (flags != NULL && known_route(self, topic, &dst, &handler) == 0)
        message = make_request(self, topic, found[1], then, found[3], flags, dst, handler);
    Py_XDECREF(flags);
    if (message == NULL)
        return NULL;
    int is_usual = redirect(message, found[4], found[6]);
    if (is_usual >= 0 && trace(self, str_tx, message) == 0) {
        PyObject *reactor = FIELD(self, e_reactor);
        int is_known = is_usual && reactor != NULL && FIELD(message, m_dst) != Py_None;
        if ((is_known ? push_to(reactor, message) : call_method_with(self, str_dispatch_request, message)) == 0)
            return message;
    }
    Py_DECREF(message);
    return NULL;
}

static PyObject *endpoint_respond(PyObject *self, PyObject *const *args, Py_ssize_t given, PyObject *keywords)
{
    static const char *const known[] = {"request", "payload"};
    PyObject *found[] = {NULL, Py_None};
    if (read_arguments("respond", args, given, keywords, known, found, 2) < 0)
        return NULL;
    PyObject *request = found[0];
    if (!is_a(request, Message)) {
        wrong_type(request, "a request");
        return NULL;
    }
    PyObject *flags = have(request, m_flags);
    long bits = flags == NULL ? -1 : number(flags);
    if (failed(bits))
        return NULL;
    if (bits & FLAG_NORESPONSE)
        Py_RETURN_NONE;
    if (count(self, 2) < 0)
        return NULL;
    set(request, m_handler, Py_None); /* from now on nobody owes it an answer */
    PyObject *userid = have(self, e_userid), *rolemask = have(self, e_rolemask), *reactor = have(self, e_reactor);
    PyObject *topic = have(request, m_topic), *tag = have(request, m_matchtag), *src = have(request, m_src);
    PyObject *routes = have(request, m_routes);
    if (!userid || !rolemask || !reactor || !topic || !tag || !src || !routes)
        return NULL;
    if (!PyTuple_Check(routes)) {
        wrong_type(routes, "a tuple of routes");
        return NULL;
    }
    PyObject *response = new_message(
        three, topic, found[1], bits & FLAG_STREAMING ? streaming : zero, tag, userid, rolemask, self, src, Py_None, routes,
        zero);
    if (response == NULL)
        return NULL;
    int sent = trace(self, str_tx, response);
    if (sent == 0 && PyTuple_GET_SIZE(FIELD(response, m_routes)) > 1) {
        PyObject *broker = have(self, e_broker);
        sent = broker == NULL ? -1 : call_method_with(broker, str_route_response, response);
    }
    else if (sent == 0)
        sent = push_to(FIELD(self, e_reactor), response);
    Py_DECREF(response);
    if (sent < 0)
        return NULL;
    Py_RETURN_NONE;
}

/* -- Rank: events for many */

#if defined(__GNUC__)
#define FETCH(address) __builtin_prefetch(address)
#else
#define FETCH(address) ((void)(address))
#endif
enum { CACHE_LINE = 64, FETCH_MAX = 16 };

/* What a delivery touches first lies where no cache has it, with thousands of ranks: have all of it come at once, and not
 * one behind the other. */
static inline void fetch(PyObject *object)
{
    FETCH((char *)object);
    FETCH((char *)object + CACHE_LINE - 8);
}

/* What it touches then, and what tells where that is has come by now. */
static inline void fetch_behind(PyObject *dst, PyObject *handler)
{
    if (is_a(dst, Actor) && FIELD(dst, a_counts) != NULL)
        fetch(FIELD(dst, a_counts));
    if (PyMethod_Check(handler))
        FETCH((char *)PyMethod_GET_SELF(handler));
}

/* One delivery of an event: Message(EVENT, ..., src, dst, handler, routes, seq), queued. */
static int deliver(PyObject *event, PyObject *dst, PyObject *handler, PyObject *push)
{
    PyObject *delivery = new_message(
        five, FIELD(event, m_topic), FIELD(event, m_data), FIELD(event, m_flags), zero, FIELD(event, m_userid),
        FIELD(event, m_rolemask), FIELD(event, m_src), dst, handler, FIELD(event, m_routes), FIELD(event, m_seq));
    if (delivery == NULL)
        return -1;
    int pushed = done(PyObject_CallOneArg(push, delivery));
    Py_DECREF(delivery);
    return pushed;
}

/* Everybody of these may see what is private. -1 with an error set. */
static int are_owners(PyObject *endpoints)
{
    for (Py_ssize_t at = 0; at < PyTuple_GET_SIZE(endpoints); at++) {
        PyObject *one = PyTuple_GET_ITEM(endpoints, at);
        PyObject *roles = is_a(one, Endpoint) ? have(one, e_rolemask) : NULL;
        if (roles == NULL)
            return PyErr_Occurred() ? -1 : 0; /* what is no endpoint is Python's */
        long bits = number(roles);
        if (failed(bits))
            return -1;
        if (!(bits & ROLE_OWNER))
            return 0;
    }
    return 1;
}

/* An event whose deliveries differ in nothing but the receiver: of the owner, and for all. -1 with an error set. */
static int is_for_all(PyObject *event, PyObject *endpoints)
{
    for (const Slot *slot = message_slots; slot->name != NULL; slot++)
        if (have(event, *slot->offset) == NULL)
            return -1;
    long flags = number(FIELD(event, m_flags)), roles = failed(flags) ? -1 : number(FIELD(event, m_rolemask));
    if (failed(roles))
        return -1;
    if (!(roles & ROLE_OWNER))
        return 0;
    return flags & FLAG_PRIVATE ? are_owners(endpoints) : 1;
}

/* Two tuples of one length: who wants an event, and what each is called with it. */
static int are_subscribers(PyObject *subscribers)
{
    if (!PyTuple_CheckExact(subscribers) || PyTuple_GET_SIZE(subscribers) != 2)
        return 0;
    PyObject *endpoints = PyTuple_GET_ITEM(subscribers, 0), *handlers = PyTuple_GET_ITEM(subscribers, 1);
    return PyTuple_CheckExact(endpoints) && PyTuple_CheckExact(handlers)
        && PyTuple_GET_SIZE(endpoints) == PyTuple_GET_SIZE(handlers);
}

/* `fan_out` of routing/rank.py */
static PyObject *rank_fan_out(PyObject *Py_UNUSED(module), PyObject *const *args, Py_ssize_t given)
{
    if (given != 3 || !is_a(args[0], Message) || !are_subscribers(args[1])) {
        PyErr_SetString(PyExc_TypeError, "fan_out() takes an event, subscribers with their handlers and a function");
        return NULL;
    }
    PyObject *event = args[0], *endpoints = PyTuple_GET_ITEM(args[1], 0), *handlers = PyTuple_GET_ITEM(args[1], 1);
    int for_all = is_for_all(event, endpoints);
    if (for_all < 0)
        return NULL;
    if (!for_all)
        return PyObject_Vectorcall(python_fan_out, args, given, NULL);
    Py_ssize_t many = PyTuple_GET_SIZE(endpoints);
    for (Py_ssize_t at = 0; at < many && at < FETCH_MAX; at++) {
        fetch(PyTuple_GET_ITEM(endpoints, at));
        fetch(PyTuple_GET_ITEM(handlers, at));
    }
    for (Py_ssize_t at = 0; at < many && at < FETCH_MAX; at++)
        fetch_behind(PyTuple_GET_ITEM(endpoints, at), PyTuple_GET_ITEM(handlers, at));
    for (Py_ssize_t at = 0; at < many; at++)
        if (deliver(event, PyTuple_GET_ITEM(endpoints, at), PyTuple_GET_ITEM(handlers, at), args[2]) < 0)
            return NULL;
    Py_RETURN_NONE;
}

#endif
