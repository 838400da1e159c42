/* Knows what the reactor does with a message, as C: the twin of Python code in reactor/ and routing/, which is the oracle.
 *
 * Decorated with `twin` (engine.py), a class has the methods that are compiled exchanged, and keeps everything else. Each
 * function here names the Python it is the twin of; tests/native holds both to the same trace. Where something is seldom
 * (a tracer, a route, an error) C calls the Python that is there.
 *
 * Read slots.h first, then messages.h, known.h, turns.h, arrivals.h, sends.h, costs.h, frames.h; here are the tables of what has a twin.
 */
#include "costs.h"
#include "frames.h"
#include "sends.h"
#include "turns.h"

/* -- what has a twin */

#define C(function) (PyCFunction)(void (*)(void))function
#define KEYWORDS (METH_FASTCALL | METH_KEYWORDS)

static Twin actor_twins[] = {
    {{"sent", C(actor_sent), METH_O, "($self, message, /)"}, NULL},
    {{"handed", C(actor_handed), METH_O, "($self, message, /)"}, NULL},
    {{NULL}, NULL},
};
static Twin endpoint_twins[] = {
    {{"request", C(endpoint_request), KEYWORDS,
      "($self, /, topic, payload=None, then=None, arg=None, nodeid=4294967295, flags=0, cred=None)"}, NULL},
    {{"respond", C(endpoint_respond), KEYWORDS, "($self, /, request, payload=None)"}, NULL},
    {{NULL}, NULL},
};
static Twin reactor_twins[] = {
    {{"_drain_free", C(reactor_drain_free), METH_O, "($self, budget, /)"}, NULL},
    {{"arrive_at", C(reactor_arrive_at), METH_FASTCALL, "($self, when, receive, message, /)"}, NULL},
    {{"_arrive", C(reactor_arrive), METH_O, "($self, when, /)"}, NULL},
    {{"drain_all", C(reactor_drain_all), METH_NOARGS, "($self, /)"}, NULL},
    {{"pass_to", C(reactor_pass_to), METH_O, "($self, when, /)"}, NULL},
    {{"hand_out", C(reactor_hand_out), METH_NOARGS, "($self, /)"}, NULL},
    {{NULL}, NULL},
};
static Twin loop_twins[] = {
    {{"dispatch", C(module_loop_dispatch), KEYWORDS, "($self, /, message, due, fds, quiet)"}, &python_dispatch},
    {{"before_dispatch", C(module_loop_before_dispatch), METH_NOARGS, "($self, /)"}, NULL},
    {{"fulfil", C(module_loop_fulfil), METH_FASTCALL, "($self, then, response, arg, /)"}, NULL},
    {{"call_next", C(module_loop_call_next), KEYWORDS, "($self, /, call, response=None)"}, NULL},
    {{"prepare", C(module_loop_prepare), METH_NOARGS, "($self, /)"}, NULL},
    {{"settle", C(module_loop_settle), METH_NOARGS, "($self, /)"}, NULL},
    {{"add", C(module_loop_add), METH_FASTCALL, "($self, watcher, oldest, /)"}, NULL},
    {{"drop", C(module_loop_drop), METH_O, "($self, watcher, /)"}, NULL},
    {{NULL}, NULL},
};
static Twin node_twins[] = {
    {{"advance", C(node_advance_called), METH_NOARGS, "($self, /)"}, &python_advance},
    {{"join", C(node_join_called), METH_NOARGS, "($self, /)"}, NULL},
    {{"leave", C(node_leave_called), METH_NOARGS, "($self, /)"}, NULL},
    {{"begin", C(node_begin_called), KEYWORDS, "($self, /, station, demand, joins=False)"}, &python_begin},
    {{"_complete", C(node_complete), METH_NOARGS, "($self, /)"}, NULL},
    {{NULL}, NULL},
};
static Twin station_twins[] = {
    {{"arrive", C(station_arrive_called), METH_O, "($self, item, /)"}, NULL},
    {{"settle", C(station_settle_called), METH_NOARGS, "($self, /)"}, &python_settle},
    {{"done", C(station_done_called), METH_NOARGS, "($self, /)"}, NULL},
    {{"_next", C(station_next_called), KEYWORDS, "($self, /, changed=True)"}, NULL},
    {{"_serve", C(station_serve_called), METH_O, "($self, item, /)"}, &python_serve},
    {{"_checks", C(station_checks_called), KEYWORDS, "($self, /, phase, demand)"}, NULL},
    {{NULL}, NULL},
};
static Twin instrument_twins[] = {
    {{"emit", C(instrument_emit), METH_NOARGS, "($self, /)"}, &python_emit},
    {{NULL}, NULL},
};

static struct {
    const char *name;
    Twin twin;
} functions_of_python[] = {
    {"brokersim.reactor.actor.eight_counters", {{"eight_counters", C(counts_new), METH_NOARGS, "()"}, NULL}},
    {"brokersim.reactor.turn.dispatch", {{"dispatch", C(turn_dispatch), METH_O, "(message, /)"}, NULL}},
    {"brokersim.reactor.turn.take", {{"take", C(turn_take), METH_O, "(message, /)"}, NULL}},
    {"brokersim.reactor.turn.plain_turn", {{"plain_turn", C(turn_plain_turn), METH_O, "(message, /)"}, NULL}},
    {"brokersim.routing.rank.fan_out",
     {{"fan_out", C(rank_fan_out), METH_FASTCALL, "(event, subscribers, push, /)"}, &python_fan_out}},
    {"brokersim.routing.rank.pass_down", {{"pass_down", C(rank_pass_down), METH_FASTCALL, "(event, links, /)"}, NULL}},
    {"brokersim.protocol.wire.decode", {{"decode", C(wire_decode), METH_O, "(body, /)"}, &python_decode}},
    {"brokersim.protocol.wire.encode", {{"encode", C(wire_encode), METH_O, "(message, /)"}, &python_encode}},
    {"brokersim.protocol.wire.whole_frames",
     {{"whole_frames", C(wire_whole), METH_O, "(data, /)"}, &python_whole}},
};

static struct {
    const char *name;
    PyTypeObject **type;
    const Slot *slots;
    Twin *twins;
} classes_of_python[] = {
    {"brokersim.protocol.message.Message", &Message, message_slots, NULL},
    {"brokersim.reactor.actor.Timer", &Timer, timer_slots, NULL},
    {"brokersim.reactor.actor.Actor", &Actor, actor_slots, actor_twins},
    {"brokersim.reactor.loop.Reactor", &Reactor, reactor_slots, reactor_twins},
    {"brokersim.reactor.standstill.Instant", &Instant, instant_slots, NULL},
    {"brokersim.routing.link.Link", &Link, link_slots, NULL},
    {"brokersim.reactor.watchers.Watcher", &Watcher, watcher_slots, NULL},
    {"brokersim.reactor.watchers.ModuleLoop", &ModuleLoop, loop_slots, loop_twins},
    {"brokersim.reactor.cost.Node", &Node, node_slots, node_twins},
    {"brokersim.reactor.cost.Station", &Station, station_slots, station_twins},
    {"brokersim.routing.endpoint.Endpoint", &Endpoint, endpoint_slots, endpoint_twins},
    {"brokersim.host.instrument.Instrument", &Instrument, instrument_slots, instrument_twins},
};
#define LENGTH(table) (sizeof table / sizeof *table)

static PyObject *import_name(const char *module, const char *name)
{
    PyObject *found = PyImport_ImportModule(module);
    PyObject *value = found == NULL ? NULL : PyObject_GetAttrString(found, name);
    Py_XDECREF(found);
    return value;
}

/* What a class's twin needs besides: names of modules that are loaded by then. */
static int learn_constants(void)
{
    if (Message != NULL && request_error == NULL
        && (request_error = import_name("brokersim.protocol.errnums", "RequestError")) == NULL)
        return -1;
    if (Reactor != NULL && failures == NULL
        && (failures = import_name("brokersim.reactor.actor", "FAILURES")) == NULL)
        return -1;
    if (Reactor != NULL && at_once == NULL && (at_once = import_name("brokersim.reactor.actor", "AT_ONCE")) == NULL)
        return -1;
    if (Endpoint != NULL && nothing_open == NULL
        && (nothing_open = import_name("brokersim.reactor.actor", "NOTHING_OPEN")) == NULL)
        return -1;
    if (partial == NULL && (partial = import_name("functools", "partial")) == NULL)
        return -1;
    if (Endpoint != NULL && endpoint_globals == NULL
        && (endpoint_globals = import_name("brokersim.routing.endpoint", "__dict__")) == NULL)
        return -1;
    if (heap_push == NULL && (heap_push = import_name("heapq", "heappush")) == NULL)
        return -1;
    if (heap_pop == NULL && (heap_pop = import_name("heapq", "heappop")) == NULL)
        return -1;
    return 0;
}

/* `module.qualname` of a class or a function */
static PyObject *full_name(PyObject *it)
{
    PyObject *module = PyObject_GetAttrString(it, "__module__");
    PyObject *name = module == NULL ? NULL : PyObject_GetAttrString(it, "__qualname__");
    PyObject *full = name == NULL ? NULL : PyUnicode_FromFormat("%S.%S", module, name);
    Py_XDECREF(module);
    Py_XDECREF(name);
    return full;
}

/* What the twin of a function needs besides. */
static int learn_frames(void)
{
    if (Message == NULL) {
        PyErr_SetString(PyExc_TypeError, "messages are none of ours");
        return -1;
    }
    if (encode_payload == NULL && (encode_payload = import_name("brokersim.protocol.message", "encode_payload")) == NULL)
        return -1;
    return 0;
}

static PyObject *take_over_class(PyTypeObject *type, size_t at)
{
    PyTypeObject **place = classes_of_python[at].type;
    if (*place != NULL)
        return PyErr_Format(PyExc_LookupError, "the twin of %s is taken", classes_of_python[at].name);
    if (learn_slots(type, classes_of_python[at].slots) < 0)
        return NULL;
    *place = type; /* for good: there is one of each */
    if (type == Message)
        learn_messages();
    Twin *twins = classes_of_python[at].twins;
    if (learn_constants() < 0 || (twins != NULL && exchange_methods(type, twins) < 0)) {
        *place = NULL;
        return NULL;
    }
    Py_INCREF(type);
    return Py_NewRef((PyObject *)type);
}

static PyObject *take_over(PyObject *Py_UNUSED(module), PyObject *it)
{
    PyObject *full = full_name(it), *taken = NULL;
    if (full == NULL)
        return NULL;
    for (size_t at = 0; taken == NULL && !PyErr_Occurred() && PyType_Check(it) && at < LENGTH(classes_of_python); at++)
        if (PyUnicode_CompareWithASCIIString(full, classes_of_python[at].name) == 0)
            taken = take_over_class((PyTypeObject *)it, at);
    for (size_t at = 0; taken == NULL && !PyErr_Occurred() && PyFunction_Check(it) && at < LENGTH(functions_of_python); at++)
        if (PyUnicode_CompareWithASCIIString(full, functions_of_python[at].name) == 0) {
            Twin *twin = &functions_of_python[at].twin;
            int is_frame = twin->python == &python_decode || twin->python == &python_encode || twin->python == &python_whole;
            taken = (is_frame && learn_frames() < 0) || stand_for(it, twin) < 0 ? NULL : PyCFunction_New(&twin->method, NULL);
        }
    if (taken == NULL && !PyErr_Occurred())
        PyErr_Format(PyExc_LookupError, "%U has no twin", full);
    Py_DECREF(full);
    return taken;
}

static PyMethodDef functions[] = {
    {"take_over", take_over, METH_O, "take_over($module, it, /)\n--\n\nExchange what of it is compiled."},
    {NULL},
};

static struct PyModuleDef definition = {
    PyModuleDef_HEAD_INIT, "brokersim.native._engine", "The compiled reactor.", -1, functions,
};

PyMODINIT_FUNC PyInit__engine(void)
{
    for (size_t at = 0; at < LENGTH(names); at++)
        if ((*names[at].place = PyUnicode_InternFromString(names[at].text)) == NULL)
            return NULL;
    for (size_t at = 0; at < LENGTH(numbers); at++)
        if ((*numbers[at].place = PyLong_FromLongLong(numbers[at].value)) == NULL)
            return NULL;
    if ((no_routes = PyTuple_New(0)) == NULL || (empty_text = PyUnicode_FromString("")) == NULL)
        return NULL;
    return PyType_Ready(&CountsType) < 0 ? NULL : PyModule_Create(&definition);
}
