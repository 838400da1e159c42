/* Knows the classes of ours whose slots C reads, and the names and numbers that are needed all the time. */
#ifndef BROKERSIM_KNOWN_H
#define BROKERSIM_KNOWN_H

#include "messages.h"

/* -- what is known of our classes: see `twins` at the end */

static PyTypeObject *Timer, *Actor, *Endpoint, *Reactor, *ModuleLoop, *Watcher, *Node, *Station, *Instrument;

static Py_ssize_t t_fn;
static const Slot timer_slots[] = {{"fn", &t_fn}, {NULL, NULL}};
static Py_ssize_t a_counts, a_loop, a_pending, a_station, a_tracer, a_wakeups;
static const Slot actor_slots[] = {
    {"counts", &a_counts},   {"loop", &a_loop},     {"pending", &a_pending},
    {"station", &a_station}, {"tracer", &a_tracer}, {"wakeups", &a_wakeups}, {NULL, NULL},
};
static Py_ssize_t e_broker, e_matchtag, e_reactor, e_rolemask, e_routes, e_userid;
static const Slot endpoint_slots[] = {
    {"broker", &e_broker}, {"_matchtag", &e_matchtag}, {"reactor", &e_reactor}, {"rolemask", &e_rolemask},
    {"routes", &e_routes}, {"userid", &e_userid},      {NULL, NULL},
};
static Py_ssize_t r_arrivals, r_batches, r_full, r_is_inside, r_jumps;
static Py_ssize_t n_count, k_latency, k_peer, k_port, k_sent, k_tap;
static PyTypeObject *Instant, *Link;
static const Slot instant_slots[] = {{"_count", &n_count}, {NULL, NULL}};
static const Slot link_slots[] = {
    {"latency", &k_latency}, {"peer", &k_peer}, {"port", &k_port}, {"sent", &k_sent}, {"tap", &k_tap}, {NULL, NULL},
};
static Py_ssize_t r_after_batch, r_charged, r_current, r_extra, r_fifo, r_free_until, r_host, r_now, r_push, r_ready,
    r_timers;
static const Slot reactor_slots[] = {
    {"after_batch", &r_after_batch}, {"charged", &r_charged}, {"current", &r_current}, {"extra", &r_extra},
    {"fifo", &r_fifo},               {"host", &r_host},       {"now", &r_now},         {"free_until", &r_free_until},
    {"push", &r_push},               {"_ready", &r_ready},    {"_timers", &r_timers},  {"_arrivals", &r_arrivals},
    {"batches", &r_batches},         {"_full", &r_full},      {"jumps", &r_jumps},     {"is_inside", &r_is_inside},
    {NULL, NULL},
};
static Py_ssize_t l_actor, l_check, l_checks, l_continuations, l_fresh, l_idle, l_idle_calls, l_idles, l_is_plain,
    l_is_settled, l_nonblocking, l_order, l_poll, l_prepares, l_reactor, l_spin_queued, l_started;
static const Slot loop_slots[] = {
    {"actor", &l_actor},           {"check", &l_check},             {"checks", &l_checks},
    {"is_fresh", &l_fresh},         {"idle", &l_idle},               {"_continuations", &l_continuations},
    {"idles", &l_idles},           {"idle_calls", &l_idle_calls},   {"is_plain", &l_is_plain},
    {"poll", &l_poll},             {"nonblocking", &l_nonblocking}, {"is_settled", &l_is_settled},
    {"reactor", &l_reactor},       {"started", &l_started},         {"spin_queued", &l_spin_queued},
    {"_order", &l_order},          {"prepares", &l_prepares},       {NULL, NULL},
};
static Py_ssize_t w_active, w_fn, w_kind;
static const Slot watcher_slots[] = {{"active", &w_active}, {"fn", &w_fn}, {"kind", &w_kind}, {NULL, NULL}};
static Py_ssize_t n_completing, n_cores, n_heap, n_iteration, n_message, n_packet, n_reactor, n_runnable, n_seq, n_service,
    n_since, n_slice, n_spinners, n_topics, n_wake;
static const Slot node_slots[] = {
    {"cores", &n_cores},     {"_heap", &n_heap},       {"_completing", &n_completing}, {"iteration", &n_iteration},
    {"message", &n_message}, {"packet", &n_packet},    {"reactor", &n_reactor},        {"runnable", &n_runnable},
    {"_seq", &n_seq},        {"service", &n_service},  {"_since", &n_since},           {"slice", &n_slice},
    {"topics", &n_topics},   {"spinners", &n_spinners}, {"wake", &n_wake},             {NULL, NULL},
};
static Py_ssize_t s_actor, s_backlog, s_counted, s_gone, s_inbox, s_item, s_node, s_phase, s_spin_from, s_spinning;
static const Slot station_slots[] = {
    {"actor", &s_actor}, {"_backlog", &s_backlog}, {"_counted", &s_counted}, {"gone", &s_gone}, {"inbox", &s_inbox},
    {"_item", &s_item},  {"node", &s_node},        {"_phase", &s_phase},     {"spinning", &s_spinning},
    {"_spin_from", &s_spin_from}, {NULL, NULL},
};
static Py_ssize_t i_counts, i_last;
static const Slot instrument_slots[] = {{"_counts", &i_counts}, {"_last", &i_last}, {NULL, NULL}};

/* protocol/message.py */
enum { REQUEST = 1, RESPONSE = 3, EVENT = 5 };
enum { FLAG_NORESPONSE = 0x04, FLAG_PRIVATE = 0x20, FLAG_STREAMING = 0x40 };
enum { ROLE_OWNER = 1 };
enum { BUDGET = 256 }; /* of reactor/loop.py */
/* Open requests below which OPEN_LIMIT (routing/endpoint.py) is not looked up. */
enum { FEW_OPEN = 256 };

/* Numbers and names that are needed all the time; made once, when the module is loaded. */
static PyObject *zero, *one, *three, *five, *norespond, *streaming, *any_node, *no_routes;
static PyObject *str_before_dispatch, *str_continues, *str_failed, *str_append, *str_arrive, *str_drain_all, *str_earn, *str_is_due, *str_keep_turning, *str_passed, *str_schedule, *str_spins, *str_turns_on, *str_station_iterate, *str_raised, *str_continued, *str_dispatch, *str_spin, *str_tail, *str_attach, *str_idle, *str_rebuild;
static PyObject *str_arrive_due, *str_call_at, *str_connection, *str_distribute, *str_drain, *str_is_whole, *str_reactor,
    *str_send, *str_watch_instant, *minus_one, *budget_number;
static PyObject *str_popleft, *str_push, *str_iterate, *str_is_plain, *str_is_settled, *str_check, *str_poll, *str_settle,
    *str_fulfil, *str_stray_response, *str_blame, *str_refuse_to_ask, *str_refuse, *str_prepare, *str_dispatch_request,
    *str_route_response, *str_open_limit, *str_tx, *str_rx;
static PyObject *failures;         /* FAILURES of reactor/actor.py */
static PyObject *nothing_open;     /* NOTHING_OPEN of reactor/actor.py */
static PyObject *request_error;    /* RequestError of protocol/errnums.py */
static PyObject *endpoint_globals; /* where OPEN_LIMIT stands */
static PyObject *heap_push, *heap_pop, *partial; /* of heapq and functools */
static PyObject *at_once;                        /* AT_ONCE of reactor/actor.py */
/* What Python does of a twin's work: see `Twin`. */
static PyObject *python_fan_out, *python_advance, *python_begin, *python_dispatch, *python_emit, *python_serve,
    *python_settle;

static const struct {
    PyObject **place;
    const char *text;
} names[] = {
    {&str_append, "append"},
    {&str_arrive_due, "_arrive"},
    {&str_call_at, "call_at"},
    {&str_connection, "connection"},
    {&str_distribute, "distribute"},
    {&str_drain, "_drain"},
    {&str_is_whole, "is_whole"},
    {&str_reactor, "reactor"},
    {&str_send, "send"},
    {&str_watch_instant, "_watch_instant"},
    {&str_attach, "attach"},
    {&str_idle, "idle"},
    {&str_rebuild, "_rebuild"},
    {&str_before_dispatch, "before_dispatch"},
    {&str_continues, "continues"},
    {&str_failed, "failed"},
    {&str_arrive, "arrive"},
    {&str_drain_all, "drain_all"},
    {&str_earn, "earn"},
    {&str_is_due, "is_due"},
    {&str_keep_turning, "_keep_turning"},
    {&str_passed, "passed"},
    {&str_schedule, "_schedule"},
    {&str_spins, "spins"},
    {&str_turns_on, "turns_on"},
    {&str_station_iterate, "_iterate"},
    {&str_raised, "_raised"},
    {&str_continued, "_continued"},
    {&str_dispatch, "dispatch"},
    {&str_spin, "spin"},
    {&str_tail, "tail"},
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
    {&streaming, FLAG_STREAMING}, {&any_node, 0xFFFFFFFF}, {&minus_one, -1}, {&budget_number, BUDGET},
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
    if (Py_IS_TYPE(counts, &CountsType) && index >= 0 && index < COUNTERS) {
        ((Counts *)counts)->at[index]++;
        return 0;
    }
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
    PyObject *made = room_for_message();
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

#endif
