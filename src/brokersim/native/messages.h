/* Knows how a message comes and goes in C, and the eight counters of an actor. The classes are Python's: see slots.h.
 *
 * msgspec's own destructor finds a struct's fields by a walk of its class, which takes a tenth of an exchange; ours
 * knows them, and keeps some of the room for the messages that come next.
 */
#ifndef BROKERSIM_MESSAGES_H
#define BROKERSIM_MESSAGES_H

#include "slots.h"

static PyTypeObject *Message;
static Py_ssize_t m_type, m_topic, m_data, m_flags, m_matchtag, m_userid, m_rolemask, m_src, m_dst, m_handler, m_routes,
    m_seq, m_nodeid, m_errnum;
static const Slot message_slots[] = {
    {"type", &m_type},         {"topic", &m_topic},     {"data", &m_data},     {"flags", &m_flags},
    {"matchtag", &m_matchtag}, {"userid", &m_userid},   {"src", &m_src},       {"rolemask", &m_rolemask},
    {"dst", &m_dst},           {"handler", &m_handler}, {"routes", &m_routes}, {"seq", &m_seq},
    {"nodeid", &m_nodeid},     {"errnum", &m_errnum},   {NULL, NULL},
};
enum { MESSAGE_FIELDS = sizeof message_slots / sizeof *message_slots - 1 };

/* Room of messages that have gone: as many as a batch has, and a fan-out to many. */
enum { SPARE_MAX = 256 };
static PyObject *spare[SPARE_MAX];
static int spares;
static destructor dealloc_of_msgspec;

static void message_dealloc(PyObject *self)
{
    if (!Py_IS_TYPE(self, Message)) {
        dealloc_of_msgspec(self);
        return;
    }
    PyObject **fields = (PyObject **)((char *)self + sizeof(PyObject));
    for (int at = 0; at < MESSAGE_FIELDS; at++) {
        PyObject *value = fields[at];
        fields[at] = NULL;
        Py_XDECREF(value);
    }
    if (spares < SPARE_MAX)
        spare[spares++] = self;
    else
        Message->tp_free(self);
    Py_DECREF(Message); /* each object of a class that was made at run time holds it */
}

/* Is a message no more than its fields, and not the collector's? Then it may go our way. */
static void learn_messages(void)
{
    PyTypeObject *type = Message;
    if (type->tp_basicsize == (Py_ssize_t)(sizeof(PyObject) + MESSAGE_FIELDS * sizeof(PyObject *)) && !type->tp_itemsize
        && !type->tp_weaklistoffset && !type->tp_dictoffset && !PyType_IS_GC(type) && type->tp_free == PyObject_Free
        && !type->tp_finalize && !type->tp_del && dealloc_of_msgspec == NULL) {
        dealloc_of_msgspec = type->tp_dealloc;
        type->tp_dealloc = message_dealloc;
    }
}

/* Room for a message, all of whose fields are filled next; NULL with an error set. */
static inline PyObject *room_for_message(void)
{
    if (spares == 0)
        return Message->tp_alloc(Message, 0);
    return PyObject_Init(spare[--spares], Message);
}

/* -- Counts: a list of eight ints that is one object, of two lines of the cache where the list and its numbers are ten */

enum { COUNTERS = 8 };
typedef struct {
    PyObject_HEAD
    long long at[COUNTERS];
} Counts;
static PyTypeObject CountsType;

static PyObject *counts_new(PyObject *Py_UNUSED(module), PyObject *Py_UNUSED(nothing))
{
    Counts *self = PyObject_New(Counts, &CountsType);
    if (self != NULL)
        memset(self->at, 0, sizeof self->at);
    return (PyObject *)self;
}

static Py_ssize_t counts_length(PyObject *Py_UNUSED(self))
{
    return COUNTERS;
}

static PyObject *counts_item(PyObject *self, Py_ssize_t at)
{
    if (at < 0 || at >= COUNTERS) {
        PyErr_SetString(PyExc_IndexError, "there are eight counters");
        return NULL;
    }
    return PyLong_FromLongLong(((Counts *)self)->at[at]);
}

static PyObject *counts_copy(PyObject *self, PyObject *Py_UNUSED(nothing))
{
    PyObject *list = PyList_New(COUNTERS);
    for (Py_ssize_t at = 0; list != NULL && at < COUNTERS; at++) {
        PyObject *value = counts_item(self, at);
        if (value == NULL)
            Py_CLEAR(list);
        else
            PyList_SET_ITEM(list, at, value);
    }
    return list;
}

static PyObject *counts_subscript(PyObject *self, PyObject *key)
{
    if (PyLong_CheckExact(key)) {
        Py_ssize_t at = PyLong_AsSsize_t(key);
        if (at == -1 && PyErr_Occurred())
            return NULL;
        return counts_item(self, at < 0 ? at + COUNTERS : at);
    }
    PyObject *list = counts_copy(self, NULL); /* a slice is one of the list that this stands for */
    PyObject *found = list == NULL ? NULL : PyObject_GetItem(list, key);
    Py_XDECREF(list);
    return found;
}

/* All eight of a list; -1 with an error set, and nothing changed. */
static int counts_fill(Counts *self, PyObject *list)
{
    long long at[COUNTERS];
    if (PyList_GET_SIZE(list) != COUNTERS) {
        PyErr_SetString(PyExc_ValueError, "there are eight counters");
        return -1;
    }
    for (Py_ssize_t each = 0; each < COUNTERS; each++) {
        at[each] = PyLong_AsLongLong(PyList_GET_ITEM(list, each));
        if (at[each] == -1 && PyErr_Occurred())
            return -1;
    }
    memcpy(self->at, at, sizeof at);
    return 0;
}

static int counts_ass_subscript(PyObject *self, PyObject *key, PyObject *value)
{
    Py_ssize_t at = PyLong_CheckExact(key) ? PyLong_AsSsize_t(key) : -1;
    if (at >= 0 && at < COUNTERS && value != NULL && PyLong_CheckExact(value)) {
        long long number = PyLong_AsLongLong(value);
        if (number == -1 && PyErr_Occurred())
            return -1;
        ((Counts *)self)->at[at] = number;
        return 0;
    }
    if (at == -1 && PyErr_Occurred())
        return -1;
    PyObject *list = counts_copy(self, NULL);
    if (list == NULL)
        return -1;
    int set = value == NULL ? PyObject_DelItem(list, key) : PyObject_SetItem(list, key, value);
    if (set == 0)
        set = counts_fill((Counts *)self, list);
    Py_DECREF(list);
    return set;
}

/* Are they the numbers of a list? A hook asks in each turn. -1 where that takes more than a look at each. */
static int counts_equal(const Counts *self, PyObject *other)
{
    if (!PyList_CheckExact(other))
        return -1;
    if (PyList_GET_SIZE(other) != COUNTERS)
        return 0;
    for (Py_ssize_t each = 0; each < COUNTERS; each++) {
        PyObject *value = PyList_GET_ITEM(other, each);
        if (!PyLong_CheckExact(value))
            return -1;
        int overflow;
        if (PyLong_AsLongLongAndOverflow(value, &overflow) != self->at[each] || overflow)
            return 0;
    }
    return 1;
}

static PyObject *counts_compare(PyObject *self, PyObject *other, int operation)
{
    int equal = operation == Py_EQ || operation == Py_NE ? counts_equal((Counts *)self, other) : -1;
    if (equal >= 0)
        return PyBool_FromLong(equal == (operation == Py_EQ));
    PyObject *list = counts_copy(self, NULL);
    PyObject *right = list != NULL && Py_IS_TYPE(other, &CountsType) ? counts_copy(other, NULL) : Py_NewRef(other);
    PyObject *found = list == NULL || right == NULL ? NULL : PyList_Check(right)
        ? PyObject_RichCompare(list, right, operation) : Py_NewRef(Py_NotImplemented);
    Py_XDECREF(list);
    Py_XDECREF(right);
    return found;
}

static PyObject *counts_repr(PyObject *self)
{
    PyObject *list = counts_copy(self, NULL);
    PyObject *text = list == NULL ? NULL : PyObject_Repr(list);
    Py_XDECREF(list);
    return text;
}

static PySequenceMethods counts_sequence = {.sq_length = counts_length, .sq_item = counts_item};
static PyMappingMethods counts_mapping = {
    .mp_length = counts_length, .mp_subscript = counts_subscript, .mp_ass_subscript = counts_ass_subscript,
};
static PyMethodDef counts_methods[] = {
    {"copy", counts_copy, METH_NOARGS, "copy($self, /)\n--\n\nA list of what they are now."},
    {NULL},
};
static PyTypeObject CountsType = {
    PyVarObject_HEAD_INIT(NULL, 0)
    .tp_name = "brokersim.native._engine.Counts",
    .tp_doc = "Eight counters: a list of eight ints, in one object.",
    .tp_basicsize = sizeof(Counts),
    .tp_flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_DISALLOW_INSTANTIATION,
    .tp_as_sequence = &counts_sequence,
    .tp_as_mapping = &counts_mapping,
    .tp_methods = counts_methods,
    .tp_richcompare = counts_compare,
    .tp_hash = PyObject_HashNotImplemented,
    .tp_repr = counts_repr,
};

#endif
