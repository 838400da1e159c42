/* Knows what the reactor does with a message, as C: the twin of Python code in reactor/ and routing/, which is the oracle.
 *
 * Decorated with `twin` (engine.py), a class has the methods that are compiled exchanged, and keeps everything else. Each
 * function here names the Python it is the twin of; tests/native holds both to the same trace. Where something is seldom
 * (a tracer, a route, an error) C calls the Python that is there.
 */
#include "slots.h"

static PyTypeObject *Message, *Actor;

static Py_ssize_t m_type, m_topic, m_data, m_flags, m_matchtag, m_userid, m_rolemask, m_src, m_dst, m_handler, m_routes,
    m_seq, m_nodeid, m_errnum;
static const Slot message_slots[] = {
    {"type", &m_type},         {"topic", &m_topic},   {"data", &m_data},   {"flags", &m_flags},
    {"matchtag", &m_matchtag}, {"userid", &m_userid}, {"src", &m_src},     {"rolemask", &m_rolemask},
    {"dst", &m_dst},           {"handler", &m_handler}, {"routes", &m_routes}, {"seq", &m_seq},
    {"nodeid", &m_nodeid},     {"errnum", &m_errnum}, {NULL, NULL},
};

static Py_ssize_t a_counts, a_tracer;
static const Slot actor_slots[] = {{"counts", &a_counts}, {"tracer", &a_tracer}, {NULL, NULL}};

/* counts[index] += 1 */
static int count(PyObject *actor, Py_ssize_t index)
{
    PyObject *counts = have(actor, a_counts);
    if (counts == NULL)
        return -1;
    if (!PyList_CheckExact(counts) || index < 0 || index >= PyList_GET_SIZE(counts)) {
        PyErr_SetString(PyExc_TypeError, "counts is no list of eight, or a message's type none of RFC 3");
        return -1;
    }
    long long value = PyLong_AsLongLong(PyList_GET_ITEM(counts, index));
    if (value == -1 && PyErr_Occurred())
        return -1;
    PyObject *more = PyLong_FromLongLong(value + 1);
    return more == NULL ? -1 : PyList_SetItem(counts, index, more);
}

static int trace(PyObject *actor, const char *direction, PyObject *message)
{
    PyObject *tracer = FIELD(actor, a_tracer);
    if (tracer == NULL || tracer == Py_None)
        return 0;
    Py_INCREF(tracer);
    PyObject *done = PyObject_CallFunction(tracer, "sOO", direction, actor, message);
    Py_DECREF(tracer);
    Py_XDECREF(done);
    return done == NULL ? -1 : 0;
}

static long type_of(PyObject *message) /* -1 with TypeError */
{
    if (!is_a(message, Message)) {
        PyErr_Format(PyExc_TypeError, "a message is wanted, not %.100s", Py_TYPE(message)->tp_name);
        return -1;
    }
    PyObject *type = have(message, m_type);
    return type == NULL ? -1 : PyLong_AsLong(type);
}

/* Actor.sent */
static PyObject *actor_sent(PyObject *self, PyObject *message)
{
    long type = type_of(message);
    if ((type == -1 && PyErr_Occurred()) || count(self, type - 1) < 0 || trace(self, "tx", message) < 0)
        return NULL;
    Py_RETURN_NONE;
}

/* Actor.handed */
static PyObject *actor_handed(PyObject *self, PyObject *message)
{
    long type = type_of(message);
    if ((type == -1 && PyErr_Occurred()) || count(self, type) < 0 || trace(self, "rx", message) < 0)
        return NULL;
    Py_RETURN_NONE;
}

static PyMethodDef actor_methods[] = {
    {"sent", actor_sent, METH_O, "sent($self, message, /)\n--\n\nCount a message that this actor sends."},
    {"handed", actor_handed, METH_O, "handed($self, message, /)\n--\n\nCount a message that this actor is handed."},
    {NULL},
};

static struct {
    const char *name;
    PyTypeObject **type;
    const Slot *slots;
    PyMethodDef *methods;
} twins[] = {
    {"brokersim.protocol.message.Message", &Message, message_slots, NULL},
    {"brokersim.reactor.actor.Actor", &Actor, actor_slots, actor_methods},
};

static PyObject *take_over(PyObject *Py_UNUSED(module), PyObject *it)
{
    PyObject *module = PyObject_GetAttrString(it, "__module__");
    PyObject *name = module == NULL ? NULL : PyObject_GetAttrString(it, "__qualname__");
    PyObject *full = name == NULL ? NULL : PyUnicode_FromFormat("%U.%U", module, name);
    Py_XDECREF(module);
    Py_XDECREF(name);
    if (full == NULL)
        return NULL;
    size_t at, all = sizeof twins / sizeof *twins;
    for (at = 0; at < all && PyUnicode_CompareWithASCIIString(full, twins[at].name) != 0; at++)
        ;
    if (at == all || !PyType_Check(it) || *twins[at].type != NULL) {
        PyErr_Format(PyExc_LookupError, at == all ? "%U has no twin" : "the twin of %U is taken", full);
        Py_DECREF(full);
        return NULL;
    }
    Py_DECREF(full);
    PyTypeObject *type = (PyTypeObject *)it;
    if (learn_slots(type, twins[at].slots) < 0
        || (twins[at].methods != NULL && exchange_methods(type, twins[at].methods) < 0))
        return NULL;
    *twins[at].type = type;
    Py_INCREF(type); /* for good: there is one of each */
    Py_INCREF(it);
    return it;
}

static PyMethodDef functions[] = {
    {"take_over", take_over, METH_O, "take_over($module, it, /)\n--\n\nExchange what of it is compiled."},
    {NULL},
};

static struct PyModuleDef definition = {
    PyModuleDef_HEAD_INIT, "brokersim.native._engine", "The compiled reactor.", -1, functions,
};

PyMODINIT_FUNC __attribute__((visibility("default"))) PyInit__engine(void)
{
    return PyModule_Create(&definition);
}
