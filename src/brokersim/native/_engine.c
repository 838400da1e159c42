/* Knows what the reactor does with a message, as C: the twin of Python code in reactor/ and routing/, which is the oracle.
 *
 * Decorated with `twin` (engine.py), a class has the methods that are compiled exchanged, and keeps everything else. Each
 * function here names the Python it is the twin of; tests/native holds both to the same trace. Where something is seldom
 * (a tracer, a route, an error) C calls the Python that is there.
 */
#include "slots.h"

/* -- what is known of our classes: see `twins` at the end */

static PyTypeObject *Message, *Actor, *Endpoint, *Reactor, *ModuleLoop;

static Py_ssize_t m_type, m_topic, m_data, m_flags, m_matchtag, m_userid, m_rolemask, m_src, m_dst, m_handler, m_routes,
    m_seq, m_nodeid, m_errnum;
static const Slot message_slots[] = {
    {"type", &m_type},         {"topic", &m_topic},     {"data", &m_data},     {"flags", &m_flags},
    {"matchtag", &m_matchtag}, {"userid", &m_userid},   {"src", &m_src},       {"rolemask", &m_rolemask},
    {"dst", &m_dst},           {"handler", &m_handler}, {"routes", &m_routes}, {"seq", &m_seq},
    {"nodeid", &m_nodeid},     {"errnum", &m_errnum},   {NULL, NULL},
};
static Py_ssize_t a_counts, a_loop, a_pending, a_tracer;
static const Slot actor_slots[] = {
    {"counts", &a_counts}, {"loop", &a_loop}, {"pending", &a_pending}, {"tracer", &a_tracer}, {NULL, NULL},
};
static Py_ssize_t e_broker, e_matchtag, e_reactor, e_rolemask, e_routes, e_userid;
static const Slot endpoint_slots[] = {
    {"broker", &e_broker}, {"_matchtag", &e_matchtag}, {"reactor", &e_reactor}, {"rolemask", &e_rolemask},
    {"routes", &e_routes}, {"userid", &e_userid},      {NULL, NULL},
};
static Py_ssize_t r_current, r_fifo, r_push;
static const Slot reactor_slots[] = {{"current", &r_current}, {"fifo", &r_fifo}, {"push", &r_push}, {NULL, NULL}};
static Py_ssize_t l_is_plain, l_is_settled, l_check, l_poll;
static const Slot loop_slots[] = {
    {"is_plain", &l_is_plain}, {"is_settled", &l_is_settled}, {"check", &l_check}, {"poll", &l_poll}, {NULL, NULL},
};

/* protocol/message.py */
enum { REQUEST = 1, RESPONSE = 3, EVENT = 5 };
enum { FLAG_NORESPONSE = 0x04, FLAG_PRIVATE = 0x20, FLAG_STREAMING = 0x40 };
enum { ROLE_OWNER = 1 };
/* Open requests below which OPEN_LIMIT (routing/endpoint.py) is not looked up. */
enum { FEW_OPEN = 256 };

/* Numbers and names that are needed all the time; made once, when the module is loaded. */
static PyObject *zero, *one, *three, *five, *norespond, *streaming, *any_node, *no_routes;
static PyObject *str_popleft, *str_push, *str_iterate, *str_is_plain, *str_is_settled, *str_check, *str_poll, *str_settle,
    *str_fulfil, *str_stray_response, *str_blame, *str_refuse_to_ask, *str_refuse, *str_prepare, *str_dispatch_request,
    *str_route_response, *str_open_limit, *str_tx, *str_rx;
static PyObject *failures;         /* FAILURES of reactor/actor.py */
static PyObject *request_error;    /* RequestError of protocol/errnums.py */
static PyObject *endpoint_globals; /* where OPEN_LIMIT stands */
static PyObject *python_fan_out;

static const struct {
    PyObject **place;
    const char *text;
} names[] = {
    {&str_popleft, "popleft"},
    {&str_push, "push"},
    {&str_iterate, "iterate"},
    {&str_is_plain, "is_plain"},
    {&str_is_settled, "is_settled"},
    {&str_check, "check"},
    {&str_poll, "poll"},
    {&str_settle, "settle"},
    {&str_fulfil, "fulfil"},
    {&str_stray_response, "stray_response"},
    {&str_blame, "_blame"},
    {&str_refuse_to_ask, "_refuse_to_ask"},
    {&str_refuse, "refuse"},
    {&str_prepare, "prepare"},
    {&str_dispatch_request, "dispatch_request"},
    {&str_route_response, "route_response"},
    {&str_open_limit, "OPEN_LIMIT"},
    {&str_tx, "tx"},
    {&str_rx, "rx"},
};
static const struct {
    PyObject **place;
    long long value;
} numbers[] = {
    {&zero, 0},  {&one, 1}, {&three, RESPONSE}, {&five, EVENT}, {&norespond, FLAG_NORESPONSE},
    {&streaming, FLAG_STREAMING}, {&any_node, 0xFFFFFFFF},
};

/* -- small things */

/* A call whose result nobody wants. -1 where it raised. */
static inline int done(PyObject *result)
{
    Py_XDECREF(result);
    return result == NULL ? -1 : 0;
}

static inline int call_method(PyObject *object, PyObject *name)
{
    return done(PyObject_CallMethodNoArgs(object, name));
}

static inline int call_method_with(PyObject *object, PyObject *name, PyObject *argument)
{
    return done(PyObject_CallMethodOneArg(object, name, argument));
}

static int wrong_type(PyObject *object, const char *wanted)
{
    PyErr_Format(PyExc_TypeError, "%s is wanted, not %.100s", wanted, Py_TYPE(object)->tp_name);
    return -1;
}

/* An int that fits; most are small, and many the very same object. -1 with an error set. */
static inline long number(PyObject *object)
{
    if (object == zero)
        return 0;
    if (!PyLong_Check(object)) /* no __index__ of anybody's runs in between */
        return wrong_type(object, "an int");
    return PyLong_AsLong(object);
}

static inline int failed(long value)
{
    return value == -1 && PyErr_Occurred() != NULL;
}

/* A message's type, 1, 3, 5 or 7 (or 0: a turn without one). -1 with TypeError where it is no message. */
static inline long type_of(PyObject *message)
{
    if (!is_a(message, Message))
        return wrong_type(message, "a message");
    PyObject *type = have(message, m_type);
    return type == NULL ? -1 : type == one ? REQUEST : type == three ? RESPONSE : type == five ? EVENT : number(type);
}

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
    PyObject *before = PyList_GET_ITEM(counts, index);
    if (!PyLong_Check(before))
        return wrong_type(before, "an int as count");
    long long value = PyLong_AsLongLong(before);
    if (value == -1 && PyErr_Occurred())
        return -1;
    PyObject *more = PyLong_FromLongLong(value + 1);
    return more == NULL ? -1 : PyList_SetItem(counts, index, more);
}

static inline int trace(PyObject *actor, PyObject *direction, PyObject *message)
{
    PyObject *tracer = FIELD(actor, a_tracer);
    if (tracer == NULL || tracer == Py_None)
        return 0;
    PyObject *arguments[] = {direction, actor, message};
    Py_INCREF(tracer);
    int told = done(PyObject_Vectorcall(tracer, arguments, 3, NULL));
    Py_DECREF(tracer);
    return told;
}

/* Message(type, topic, data, flags, matchtag, userid, rolemask, src, dst, handler, routes, seq), as msgspec makes it: its
 * allocation, and every field set. */
static PyObject *new_message(
    PyObject *type, PyObject *topic, PyObject *data, PyObject *flags, PyObject *matchtag, PyObject *userid,
    PyObject *rolemask, PyObject *src, PyObject *dst, PyObject *handler, PyObject *routes, PyObject *seq)
{
    PyObject *made = Message->tp_alloc(Message, 0);
    if (made == NULL)
        return NULL;
#define FILL(name, value) FIELD(made, m_##name) = Py_NewRef(value)
    FILL(type, type);
    FILL(topic, topic);
    FILL(data, data);
    FILL(flags, flags);
    FILL(matchtag, matchtag);
    FILL(userid, userid);
    FILL(rolemask, rolemask);
    FILL(src, src);
    FILL(dst, dst);
    FILL(handler, handler);
    FILL(routes, routes);
    FILL(seq, seq);
    FILL(nodeid, any_node);
    FILL(errnum, zero);
#undef FILL
    return made;
}

/* reactor.push(message) */
static int push_to(PyObject *reactor, PyObject *message)
{
    if (!is_a(reactor, Reactor)) /* a module process has another */
        return call_method_with(reactor, str_push, message);
    PyObject *push = have(reactor, r_push);
    if (push == NULL)
        return -1;
    Py_INCREF(push);
    int pushed = done(PyObject_CallOneArg(push, message));
    Py_DECREF(push);
    return pushed;
}

/* -- Actor: counting */

static PyObject *actor_sent(PyObject *self, PyObject *message)
{
    long type = type_of(message);
    if (failed(type) || count(self, type - 1) < 0 || trace(self, str_tx, message) < 0)
        return NULL;
    Py_RETURN_NONE;
}

static int hand(PyObject *actor, PyObject *message, long type)
{
    return count(actor, type) < 0 ? -1 : trace(actor, str_rx, message);
}

static PyObject *actor_handed(PyObject *self, PyObject *message)
{
    long type = type_of(message);
    if (failed(type) || hand(self, message, type) < 0)
        return NULL;
    Py_RETURN_NONE;
}

static PyMethodDef actor_methods[] = {
    {"sent", actor_sent, METH_O, "($self, message, /)"},
    {"handed", actor_handed, METH_O, "($self, message, /)"},
    {NULL},
};

/* -- Endpoint: sending */

/* Arguments by place and by name into `found`, which holds the defaults; NULL for one that must be given. */
static int read_arguments(
    const char *function, PyObject *const *args, Py_ssize_t given, PyObject *keywords, const char *const *known,
    PyObject **found, Py_ssize_t most)
{
    if (given > most) {
        PyErr_Format(PyExc_TypeError, "%s() takes at most %zd arguments, %zd were given", function, most, given);
        return -1;
    }
    for (Py_ssize_t at = 0; at < given; at++)
        found[at] = args[at];
    for (Py_ssize_t key = 0; keywords != NULL && key < PyTuple_GET_SIZE(keywords); key++) {
        PyObject *name = PyTuple_GET_ITEM(keywords, key);
        Py_ssize_t at = 0;
        while (at < most && PyUnicode_CompareWithASCIIString(name, known[at]) != 0)
            at++;
        if (at == most || at < given) {
            PyErr_Format(PyExc_TypeError, "%s() got %s argument '%U'", function, at == most ? "an unexpected" : "twice the", name);
            return -1;
        }
        found[at] = args[given + key];
    }
    if (found[0] == NULL) {
        PyErr_Format(PyExc_TypeError, "%s() missing the argument '%s'", function, known[0]);
        return -1;
    }
    return 0;
}

/* self.pending[tag] = then, arg, message; 1 if more are open than may be */
static int open_request(PyObject *self, PyObject *tag, PyObject *then, PyObject *arg, PyObject *message)
{
    PyObject *pending = have(self, a_pending);
    if (pending == NULL)
        return -1;
    if (!PyDict_CheckExact(pending))
        return wrong_type(pending, "a dict of open requests");
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
        is_usual = 0; /* remembered for our own roles; the others have to be checked */
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

static PyMethodDef endpoint_methods[] = {
    {"request", (PyCFunction)(void (*)(void))endpoint_request, METH_FASTCALL | METH_KEYWORDS,
     "($self, /, topic, payload=None, then=None, arg=None, nodeid=4294967295, flags=0, cred=None)"},
    {"respond", (PyCFunction)(void (*)(void))endpoint_respond, METH_FASTCALL | METH_KEYWORDS,
     "($self, /, request, payload=None)"},
    {NULL},
};

/* -- turns: reactor/turn.py */

/* `turn.answered`: the open request a response is for, which stays open if more answers will come. A new reference in
 * `found`; 1, 0 if there is none, -1. */
static int take_answered(PyObject *actor, PyObject *response, PyObject **found)
{
    PyObject *pending = have(actor, a_pending), *tag = have(response, m_matchtag);
    PyObject *flags = have(response, m_flags), *errnum = have(response, m_errnum);
    if (!pending || !tag || !flags || !errnum)
        return -1;
    if (!PyDict_CheckExact(pending))
        return wrong_type(pending, "a dict of open requests");
    *found = PyDict_GetItemWithError(pending, tag);
    if (*found == NULL)
        return PyErr_Occurred() ? -1 : 0;
    if (!PyTuple_CheckExact(*found) || PyTuple_GET_SIZE(*found) != 3)
        return wrong_type(*found, "a continuation, its argument and the request");
    Py_INCREF(*found);
    if (flags != zero && errnum == zero) {
        long bits = number(flags);
        if (!failed(bits) && bits & FLAG_STREAMING)
            return 1;
    }
    if (PyErr_Occurred() || PyDict_DelItem(pending, tag) < 0) {
        Py_CLEAR(*found);
        return -1;
    }
    return 1;
}

/* A message that has been counted, to its handler or the continuation; `loop` is the receiver's, or None. */
static int hand_on(PyObject *actor, PyObject *message, long type, PyObject *loop)
{
    if (type != RESPONSE) {
        PyObject *handler = have(message, m_handler);
        if (handler == NULL)
            return -1;
        Py_INCREF(handler);
        int called = done(PyObject_CallOneArg(handler, message));
        Py_DECREF(handler);
        return called;
    }
    PyObject *found;
    int is_open = take_answered(actor, message, &found);
    if (is_open < 0)
        return -1;
    if (!is_open)
        return call_method_with(actor, str_stray_response, message);
    PyObject *then = PyTuple_GET_ITEM(found, 0), *arg = PyTuple_GET_ITEM(found, 1);
    int called;
    if (loop == Py_None) {
        PyObject *arguments[] = {NULL, message, arg};
        called = done(PyObject_Vectorcall(then, arguments + 1, 2 | PY_VECTORCALL_ARGUMENTS_OFFSET, NULL));
    }
    else {
        PyObject *arguments[] = {loop, then, message, arg};
        called = done(PyObject_VectorcallMethod(str_fulfil, arguments, 4, NULL));
    }
    Py_DECREF(found);
    return called;
}

/* Does an attribute of a loop hold true? Of our own loops it is a slot. */
static inline int holds(PyObject *loop, Py_ssize_t offset, PyObject *name)
{
    if (is_a(loop, ModuleLoop)) {
        PyObject *value = have(loop, offset);
        return value == NULL ? -1 : value == Py_True ? 1 : value == Py_False ? 0 : PyObject_IsTrue(value);
    }
    PyObject *value = PyObject_GetAttr(loop, name);
    int is_true = value == NULL ? -1 : PyObject_IsTrue(value);
    Py_XDECREF(value);
    return is_true;
}

/* Call what a loop has for all checks, or all prepares, if it has one. */
static inline int call_hook(PyObject *loop, Py_ssize_t offset, PyObject *name)
{
    PyObject *hook;
    if (is_a(loop, ModuleLoop)) {
        if ((hook = have(loop, offset)) == NULL)
            return -1;
        Py_INCREF(hook);
    }
    else if ((hook = PyObject_GetAttr(loop, name)) == NULL)
        return -1;
    int called = hook == Py_None ? 0 : done(PyObject_CallNoArgs(hook));
    Py_DECREF(hook);
    return called;
}

/* The end of a turn: the prepares of the next. */
static int end_turn(PyObject *loop)
{
    if (call_hook(loop, l_poll, str_poll) < 0)
        return -1;
    int is_settled = holds(loop, l_is_settled, str_is_settled);
    return is_settled < 0 ? -1 : is_settled ? 0 : call_method(loop, str_settle);
}

/* An exception that is raised right now, as an object with its traceback: new, and no error is set any more. */
static PyObject *caught(void)
{
    PyObject *type, *error, *traceback;
    PyErr_Fetch(&type, &error, &traceback);
    PyErr_NormalizeException(&type, &error, &traceback);
    if (traceback != NULL)
        PyException_SetTraceback(error, traceback);
    Py_XDECREF(type);
    Py_XDECREF(traceback);
    return error;
}

/* Call a method by an array of object and arguments, with `error` as the exception that is being handled, as inside of
 * Python's `except`. */
static int call_handling(PyObject *error, PyObject *name, PyObject *const *arguments, size_t given)
{
    PyObject *before = PyErr_GetHandledException();
    PyErr_SetHandledException(error);
    int called = done(PyObject_VectorcallMethod(name, arguments, given, NULL));
    PyErr_SetHandledException(before);
    Py_XDECREF(before);
    return called;
}

/* `turn.dispatch` of a message whose receiver is held by the caller. */
static int dispatch_to(PyObject *actor, PyObject *message, long type)
{
    if (hand(actor, message, type) < 0)
        return -1;
    PyObject *loop = have(actor, a_loop);
    if (loop == NULL)
        return -1;
    Py_INCREF(loop);
    int handed = hand_on(actor, message, type, loop);
    Py_DECREF(loop);
    return handed;
}

/* `turn.take`: a refused request is answered with the refusal. */
static int take_in(PyObject *actor, PyObject *message, long type)
{
    if (dispatch_to(actor, message, type) == 0)
        return 0;
    if (type != REQUEST || !PyErr_ExceptionMatches(request_error))
        return -1;
    PyObject *error = caught(), *arguments[] = {actor, message, error};
    int refused = call_handling(error, str_refuse, arguments, 3);
    Py_DECREF(error);
    return refused;
}

/* `turn.plain_turn` */
static int turn_plainly(PyObject *actor, PyObject *message, long type)
{
    PyObject *loop = have(actor, a_loop);
    if (loop == NULL)
        return -1;
    Py_INCREF(loop);
    int result = take_in(actor, message, type);
    PyObject *after = FIELD(actor, a_loop);
    if (result == 0 && after != NULL && after != Py_None) {
        if (loop == Py_None) {
            Py_INCREF(after);
            result = call_method(after, str_prepare); /* made in this very turn */
            Py_DECREF(after);
        }
        else if (after == loop) /* neither ended nor blocked in its handler */
            result = end_turn(loop);
    }
    Py_DECREF(loop);
    return result;
}

/* What the three functions of reactor/turn.py share: a message, and its receiver for as long as it lasts. */
static PyObject *with_receiver(PyObject *message, int (*act)(PyObject *, PyObject *, long))
{
    long type = type_of(message);
    PyObject *actor = failed(type) ? NULL : have(message, m_dst);
    if (actor == NULL)
        return NULL;
    if (!is_a(actor, Actor)) {
        wrong_type(actor, "an actor as receiver");
        return NULL;
    }
    Py_INCREF(actor);
    int acted = act(actor, message, type);
    Py_DECREF(actor);
    if (acted < 0)
        return NULL;
    Py_RETURN_NONE;
}

static PyObject *turn_dispatch(PyObject *Py_UNUSED(module), PyObject *message)
{
    return with_receiver(message, dispatch_to);
}

static PyObject *turn_take(PyObject *Py_UNUSED(module), PyObject *message)
{
    return with_receiver(message, take_in);
}

static PyObject *turn_plain_turn(PyObject *Py_UNUSED(module), PyObject *message)
{
    return with_receiver(message, turn_plainly);
}

/* -- the drain */

/* What a turn that raised leaves behind. */
typedef struct {
    PyObject *message; /* NULL: none was taken off the queue yet */
    PyObject *loop;    /* of its receiver, or NULL */
    int in_hand;       /* is it being handled? While watchers run, what they raise is not the message's fault */
} Turn;

/* One message off the queue, one turn of its receiver: the body of `Reactor._drain_free`. */
static int free_turn(PyObject *self, PyObject *popleft, Turn *turn)
{
    PyObject *message = PyObject_CallNoArgs(popleft);
    if (message == NULL)
        return -1;
    Py_XSETREF(turn->message, message);
    long type = type_of(message);
    if (failed(type))
        return -1;
    PyObject *dst = have(message, m_dst);
    if (dst == NULL)
        return -1;
    if (!is_a(dst, Actor))
        return wrong_type(dst, "an actor as receiver");
    PyObject *loop = have(dst, a_loop);
    if (loop == NULL)
        return -1;
    Py_INCREF(dst);
    Py_INCREF(loop);
    Py_XSETREF(turn->loop, loop);
    set(self, r_current, dst);
    turn->in_hand = 1;
    int result = -1;
    if (loop == Py_None) {
        if (count(dst, type) == 0)
            result = hand_on(dst, message, type, loop);
    }
    else {
        int is_plain = holds(loop, l_is_plain, str_is_plain);
        if (is_plain == 0)
            result = call_method_with(loop, str_iterate, message);
        else if (is_plain > 0) {
            turn->in_hand = 0;
            if (call_hook(loop, l_check, str_check) == 0) {
                turn->in_hand = 1;
                if (count(dst, type) == 0 && hand_on(dst, message, type, loop) == 0) {
                    result = 0;
                    if (FIELD(dst, a_loop) == loop) { /* neither ended nor blocked in its handler */
                        turn->in_hand = 0;
                        result = end_turn(loop);
                    }
                }
            }
        }
    }
    Py_DECREF(dst);
    return result;
}

/* What was raised and is of FAILURES goes to `Reactor._blame`, as the exception that is being handled. */
static int blame(PyObject *self, Turn *turn)
{
    if (!PyErr_ExceptionMatches(failures))
        return -1;
    PyObject *error = caught();
    PyObject *message = turn->message == NULL ? Py_None : turn->message;
    PyObject *loop = turn->loop == NULL ? Py_None : turn->loop;
    PyObject *arguments[] = {self, error, message, turn->in_hand ? message : Py_None, loop};
    int blamed = call_handling(error, str_blame, arguments, 5);
    Py_DECREF(error);
    return blamed;
}

static PyObject *reactor_drain_free(PyObject *self, PyObject *argument)
{
    long budget = PyLong_AsLong(argument);
    PyObject *fifo = failed(budget) ? NULL : have(self, r_fifo);
    if (fifo == NULL)
        return NULL;
    PyObject *popleft = PyObject_GetAttr(fifo, str_popleft);
    if (popleft == NULL)
        return NULL;
    Py_INCREF(fifo);
    Turn turn = {NULL, NULL, 0};
    int result = 0;
    while (result == 0 && budget-- > 0) {
        Py_ssize_t waiting = PyObject_Size(fifo);
        if (waiting <= 0) {
            result = (int)waiting;
            break;
        }
        /* The watchdog breaks in by a signal. It is looked at here, too: a handler need not be Python. */
        if (PyErr_CheckSignals() < 0 || free_turn(self, popleft, &turn) < 0)
            result = blame(self, &turn);
    }
    Py_XDECREF(turn.message);
    Py_XDECREF(turn.loop);
    Py_DECREF(popleft);
    Py_DECREF(fifo);
    if (result < 0)
        return NULL;
    Py_RETURN_NONE;
}

static PyMethodDef reactor_methods[] = {
    {"_drain_free", reactor_drain_free, METH_O, "($self, budget, /)"},
    {NULL},
};

/* -- Rank: events for many */

/* One delivery of an event: Message(EVENT, ..., src, dst, handler, routes, seq), queued. */
static int deliver(PyObject *event, PyObject *pair, PyObject *push)
{
    if (!PyTuple_CheckExact(pair) || PyTuple_GET_SIZE(pair) != 2)
        return wrong_type(pair, "a pair of subscriber and handler");
    PyObject *delivery = new_message(
        five, FIELD(event, m_topic), FIELD(event, m_data), FIELD(event, m_flags), zero, FIELD(event, m_userid),
        FIELD(event, m_rolemask), FIELD(event, m_src), PyTuple_GET_ITEM(pair, 0), PyTuple_GET_ITEM(pair, 1),
        FIELD(event, m_routes), FIELD(event, m_seq));
    if (delivery == NULL)
        return -1;
    int pushed = done(PyObject_CallOneArg(push, delivery));
    Py_DECREF(delivery);
    return pushed;
}

/* An event whose deliveries differ in nothing but the receiver: of the owner, and not private. -1 with an error set. */
static int is_for_all(PyObject *event)
{
    for (const Slot *slot = message_slots; slot->name != NULL; slot++)
        if (have(event, *slot->offset) == NULL)
            return -1;
    long flags = number(FIELD(event, m_flags)), roles = failed(flags) ? -1 : number(FIELD(event, m_rolemask));
    return failed(roles) ? -1 : !(flags & FLAG_PRIVATE) && roles & ROLE_OWNER;
}

/* `fan_out` of routing/rank.py */
static PyObject *rank_fan_out(PyObject *Py_UNUSED(module), PyObject *const *args, Py_ssize_t given)
{
    if (given != 3 || !is_a(args[0], Message) || !PyTuple_CheckExact(args[1])) {
        PyErr_SetString(PyExc_TypeError, "fan_out() takes an event, a tuple of subscribers and a function");
        return NULL;
    }
    PyObject *event = args[0], *subscribers = args[1];
    int for_all = is_for_all(event);
    if (for_all < 0)
        return NULL;
    if (!for_all)
        return PyObject_Vectorcall(python_fan_out, args, given, NULL);
    for (Py_ssize_t at = 0; at < PyTuple_GET_SIZE(subscribers); at++)
        if (deliver(event, PyTuple_GET_ITEM(subscribers, at), args[2]) < 0)
            return NULL;
    Py_RETURN_NONE;
}

/* -- what has a twin */

static PyMethodDef turn_functions[] = {
    {"dispatch", turn_dispatch, METH_O, "(message, /)"},
    {"take", turn_take, METH_O, "(message, /)"},
    {"plain_turn", turn_plain_turn, METH_O, "(message, /)"},
    {"fan_out", (PyCFunction)(void (*)(void))rank_fan_out, METH_FASTCALL, "(event, subscribers, push, /)"},
};
/* Each function's place among `turn_functions`, and where its Python is kept for what C leaves to it. */
static const struct {
    const char *name;
    PyObject **python;
} function_twins[] = {
    {"brokersim.reactor.turn.dispatch", NULL},
    {"brokersim.reactor.turn.take", NULL},
    {"brokersim.reactor.turn.plain_turn", NULL},
    {"brokersim.routing.rank.fan_out", &python_fan_out},
};

static PyObject *take_over_function(PyObject *function, size_t at)
{
    if (take_docstring(function, &turn_functions[at]) < 0)
        return NULL;
    if (function_twins[at].python != NULL)
        Py_XSETREF(*function_twins[at].python, Py_NewRef(function));
    return PyCFunction_New(&turn_functions[at], NULL);
}

static struct {
    const char *name;
    PyTypeObject **type;
    const Slot *slots;
    PyMethodDef *methods;
} twins[] = {
    {"brokersim.protocol.message.Message", &Message, message_slots, NULL},
    {"brokersim.reactor.actor.Actor", &Actor, actor_slots, actor_methods},
    {"brokersim.reactor.loop.Reactor", &Reactor, reactor_slots, reactor_methods},
    {"brokersim.reactor.watchers.ModuleLoop", &ModuleLoop, loop_slots, NULL},
    {"brokersim.routing.endpoint.Endpoint", &Endpoint, endpoint_slots, endpoint_methods},
};

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
    if (Endpoint != NULL && endpoint_globals == NULL
        && (endpoint_globals = import_name("brokersim.routing.endpoint", "__dict__")) == NULL)
        return -1;
    return 0;
}

static PyObject *take_over(PyObject *Py_UNUSED(module), PyObject *it)
{
    PyObject *module = PyObject_GetAttrString(it, "__module__");
    PyObject *name = module == NULL ? NULL : PyObject_GetAttrString(it, "__qualname__");
    PyObject *full = name == NULL ? NULL : PyUnicode_FromFormat("%U.%U", module, name);
    Py_XDECREF(module);
    Py_XDECREF(name);
    if (full == NULL)
        return NULL;
    for (size_t at = 0; at < sizeof function_twins / sizeof *function_twins; at++)
        if (PyFunction_Check(it) && PyUnicode_CompareWithASCIIString(full, function_twins[at].name) == 0) {
            Py_DECREF(full);
            return take_over_function(it, at);
        }
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
    if (learn_slots(type, twins[at].slots) < 0)
        return NULL;
    *twins[at].type = type;
    if (learn_constants() < 0 || (twins[at].methods != NULL && exchange_methods(type, twins[at].methods) < 0)) {
        *twins[at].type = NULL;
        return NULL;
    }
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

PyMODINIT_FUNC PyInit__engine(void)
{
    for (size_t at = 0; at < sizeof names / sizeof *names; at++)
        if ((*names[at].place = PyUnicode_InternFromString(names[at].text)) == NULL)
            return NULL;
    for (size_t at = 0; at < sizeof numbers / sizeof *numbers; at++)
        if ((*numbers[at].place = PyLong_FromLongLong(numbers[at].value)) == NULL)
            return NULL;
    if ((no_routes = PyTuple_New(0)) == NULL)
        return NULL;
    return PyModule_Create(&definition);
}
