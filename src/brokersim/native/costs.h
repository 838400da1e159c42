/* Knows how virtual time is charged: a node's cores, a station's queue, the turn of a loop there. The twin of
 * reactor/cost.py, and of what it asks of loop.py and watchers.py at every service.
 *
 * Times are Python's ints of any size; where one does not fit 64 bits (after 292 years) Python does the work.
 */
#ifndef BROKERSIM_COSTS_H
#define BROKERSIM_COSTS_H

#include "known.h"
#include "turns.h"

enum { AT_ONCE = 64 }; /* _AT_ONCE of cost.py */

/* -- numbers in slots */

static int get_int(PyObject *object, Py_ssize_t offset, long long *value)
{
    PyObject *found = have(object, offset);
    if (found == NULL)
        return -1;
    if (!PyLong_Check(found))
        return wrong_type(found, "an int");
    *value = PyLong_AsLongLong(found);
    return *value == -1 && PyErr_Occurred() ? -1 : 0;
}

static int put_int(PyObject *object, Py_ssize_t offset, long long value)
{
    PyObject *made = PyLong_FromLongLong(value);
    if (made == NULL)
        return -1;
    put(object, offset, made);
    return 0;
}

static int add_int(PyObject *object, Py_ssize_t offset, long long more)
{
    long long value;
    return get_int(object, offset, &value) < 0 ? -1 : put_int(object, offset, value + more);
}

/* A slot that is True or False. */
static int is_set(PyObject *object, Py_ssize_t offset)
{
    PyObject *value = have(object, offset);
    if (value == NULL || value == Py_True || value == Py_False)
        return value == NULL ? -1 : value == Py_True;
    Py_INCREF(value);
    int is_true = PyObject_IsTrue(value);
    Py_DECREF(value);
    return is_true;
}

/* Was a number too large for C? Then no error is set any more. */
static int was_too_large(void)
{
    if (!PyErr_ExceptionMatches(PyExc_OverflowError))
        return 0;
    PyErr_Clear();
    return 1;
}

/* A slot that has to hold an object of a class: borrowed. */
static PyObject *have_a(PyObject *object, Py_ssize_t offset, PyTypeObject *type, const char *wanted)
{
    PyObject *found = have(object, offset);
    if (found != NULL && !is_a(found, type)) {
        wrong_type(found, wanted);
        return NULL;
    }
    return found;
}

/* a * b / c and what is left, without overflow in between; all are counts or times, not negative. */
static __int128 share(long long a, long long b, long long c, int up)
{
    return ((__int128)a * b + (up ? c - 1 : 0)) / c;
}

/* -- Node */

static int node_advance(PyObject *node)
{
    PyObject *reactor = have_a(node, n_reactor, Reactor, "a reactor");
    long long now, since, runnable, cores, service;
    if (reactor == NULL)
        return -1;
    if (get_int(reactor, r_now, &now) < 0 || get_int(node, n_since, &since) < 0 || get_int(node, n_runnable, &runnable) < 0
        || get_int(node, n_cores, &cores) < 0 || get_int(node, n_service, &service) < 0)
        goto python;
    if (now == since)
        return 0;
    __int128 after = service + (runnable <= cores ? (__int128)now - since : share(now - since, cores, runnable, 0));
    if (now < since || after > LLONG_MAX)
        goto python_at_once;
    if (put_int(node, n_service, (long long)after) < 0)
        return -1;
    set(node, n_since, FIELD(reactor, r_now));
    return 0;
python:
    if (!was_too_large())
        return -1;
python_at_once:
    return done(PyObject_CallOneArg(python_advance, node));
}

/* `Node.join` and `leave`: one more is runnable, or one less. */
static int node_count(PyObject *node, int more)
{
    int completing = is_set(node, n_completing);
    long long runnable, cores;
    if (completing < 0 || (!completing && node_advance(node) < 0) || get_int(node, n_runnable, &runnable) < 0
        || get_int(node, n_cores, &cores) < 0 || put_int(node, n_runnable, runnable + more) < 0)
        return -1;
    int differs = more > 0 ? runnable + 1 > cores : runnable - 1 >= cores;
    return completing || !differs ? 0 : call_method(node, str_schedule);
}

/* (when, seq, station) onto the heap */
static int push_service(PyObject *heap, long long when, long long seq, PyObject *station)
{
    PyObject *entry = Py_BuildValue("LLO", when, seq, station);
    if (entry == NULL)
        return -1;
    PyObject *arguments[] = {heap, entry};
    int pushed = done(PyObject_Vectorcall(heap_push, arguments, 2, NULL));
    Py_DECREF(entry);
    return pushed;
}

/* The earliest entry of a heap of (when, seq, object), which is not empty: borrowed. */
static PyObject *earliest(PyObject *heap)
{
    PyObject *entry = PyList_GET_ITEM(heap, 0);
    if (PyTuple_CheckExact(entry) && PyTuple_GET_SIZE(entry) == 3 && PyLong_Check(PyTuple_GET_ITEM(entry, 0)))
        return entry;
    wrong_type(entry, "a time, a number and an object");
    return NULL;
}

static int node_begin(PyObject *node, PyObject *station, long long demand, int joins)
{
    int completing = is_set(node, n_completing);
    if (completing < 0 || (!completing && node_advance(node) < 0))
        return -1;
    PyObject *heap = have_a(node, n_heap, &PyList_Type, "a heap");
    long long service, seq, runnable, cores, when;
    if (heap == NULL)
        return -1;
    if (get_int(node, n_service, &service) < 0 || get_int(node, n_seq, &seq) < 0 || get_int(node, n_runnable, &runnable) < 0
        || get_int(node, n_cores, &cores) < 0 || __builtin_add_overflow(service, demand, &when)) {
        if (PyErr_Occurred() && !was_too_large())
            return -1;
        return done(PyObject_CallFunction(python_begin, "OOLO", node, station, demand, joins ? Py_True : Py_False));
    }
    runnable += joins;
    if (put_int(node, n_seq, seq + 1) < 0 || (joins && put_int(node, n_runnable, runnable) < 0))
        return -1;
    Py_INCREF(heap);
    int result = push_service(heap, when, seq + 1, station);
    PyObject *first = result < 0 || completing || PyList_GET_SIZE(heap) == 0 ? NULL : earliest(heap);
    /* With cores to spare nobody is slowed down: then only a new first one changes what comes next. */
    int differs = first != NULL && (PyTuple_GET_ITEM(first, 2) == station || runnable > cores);
    Py_DECREF(heap);
    if (PyErr_Occurred())
        return -1;
    return differs ? call_method(node, str_schedule) : result;
}

/* -- Reactor: what a service asks of it */

/* `Reactor.pass_to`: 1 if time has moved, 0 if something else has to come before. */
static int reactor_pass(PyObject *reactor, PyObject *when)
{
    PyObject *free_until = have(reactor, r_free_until), *ready = have(reactor, r_ready);
    PyObject *after_batch = have(reactor, r_after_batch), *host = have(reactor, r_host);
    PyObject *timers = have_a(reactor, r_timers, &PyList_Type, "a heap of timers");
    if (!free_until || !ready || !after_batch || !host || !timers)
        return -1;
    int late = PyObject_RichCompareBool(when, free_until, Py_GE);
    Py_ssize_t others = late ? 0 : PyObject_Size(ready);
    others = others || late ? others : PyObject_Size(after_batch);
    if (late || others)
        return late < 0 || others < 0 ? -1 : 0;
    Py_INCREF(timers);
    int is_next = 1;
    while (is_next == 1 && PyList_GET_SIZE(timers) > 0) {
        PyObject *entry = earliest(timers), *timer = entry == NULL ? NULL : PyTuple_GET_ITEM(entry, 2);
        if (entry == NULL || !is_a(timer, Timer)) {
            is_next = entry == NULL ? -1 : wrong_type(timer, "a timer");
            break;
        }
        if (FIELD(timer, t_fn) != Py_None) {
            is_next = PyObject_RichCompareBool(PyTuple_GET_ITEM(entry, 0), when, Py_GT);
            break;
        }
        if (done(PyObject_CallOneArg(heap_pop, timers)) < 0)
            is_next = -1;
    }
    Py_DECREF(timers);
    if (is_next <= 0)
        return is_next;
    set(reactor, r_now, when);
    Py_INCREF(host);
    int told = call_method_with(host, str_passed, when);
    Py_DECREF(host);
    return told < 0 ? -1 : 1;
}

static PyObject *reactor_pass_to(PyObject *self, PyObject *when)
{
    int passed = PyLong_Check(when) ? reactor_pass(self, when) : wrong_type(when, "an int");
    return passed < 0 ? NULL : PyBool_FromLong(passed);
}

static int station_arrive(PyObject *station, PyObject *item);

/* Hand the first message in the queue to its receiver's station. 1 if it has one, 0 if not, -1. */
static int pass_first(PyObject *fifo)
{
    PyObject *message = PySequence_GetItem(fifo, 0);
    if (message == NULL)
        return -1;
    int passed = -1;
    PyObject *dst = failed(type_of(message)) ? NULL : have_a(message, m_dst, Actor, "an actor as receiver");
    PyObject *station = dst == NULL ? NULL : have(dst, a_station);
    if (station == Py_None)
        passed = 0;
    else if (station != NULL) {
        Py_INCREF(station);
        if (call_method(fifo, str_popleft) == 0)
            passed = (is_a(station, Station) ? station_arrive(station, message)
                                             : call_method_with(station, str_arrive, message)) < 0 ? -1 : 1;
        Py_DECREF(station);
    }
    Py_DECREF(message);
    return passed;
}

/* `Reactor.hand_out` */
static int hand_out(PyObject *reactor)
{
    PyObject *fifo = have(reactor, r_fifo);
    if (fifo == NULL)
        return -1;
    Py_INCREF(fifo);
    Py_ssize_t waiting = 0;
    int passed = 1;
    for (int at = 0; at < BUDGET && passed > 0 && (waiting = PyObject_Size(fifo)) > 0; at++)
        passed = pass_first(fifo);
    waiting = waiting > 0 ? PyObject_Size(fifo) : waiting;
    Py_DECREF(fifo);
    if (passed < 0 || waiting < 0)
        return -1;
    return waiting ? call_method(reactor, str_drain_all) : 0;
}

static PyObject *reactor_hand_out(PyObject *self, PyObject *Py_UNUSED(nothing))
{
    if (hand_out(self) < 0)
        return NULL;
    Py_RETURN_NONE;
}

/* -- ModuleLoop: a turn at a station */

/* `ModuleLoop._keep_turning`: a station whose service has not ended sees to it by itself. */
static int keep_turning(PyObject *loop)
{
    PyObject *actor = have_a(loop, l_actor, Actor, "an actor"), *reactor = have_a(loop, l_reactor, Reactor, "a reactor");
    PyObject *station = actor == NULL || reactor == NULL ? NULL : have(actor, a_station);
    int queued = is_set(loop, l_spin_queued), charged = station == NULL ? -1 : is_set(reactor, r_charged);
    if (queued || charged < 0)
        return queued < 0 || charged < 0 ? -1 : 0;
    if (charged && is_a(station, Station) && FIELD(station, s_phase) != Py_None)
        return 0;
    return call_method(loop, str_keep_turning);
}

/* `ModuleLoop._judge` */
static int judge(PyObject *loop)
{
    PyObject *actor = have_a(loop, l_actor, Actor, "an actor");
    int queued = is_set(loop, l_spin_queued), fresh = is_set(loop, l_fresh);
    long long nonblocking, started;
    if (actor == NULL || queued < 0 || fresh < 0 || get_int(loop, l_nonblocking, &nonblocking) < 0
        || get_int(loop, l_started, &started) < 0)
        return -1;
    int blocks = nonblocking == 0, traced = FIELD(actor, a_tracer) != Py_None;
    set(loop, l_is_plain, blocks && !fresh && !queued ? Py_True : Py_False);
    set(loop, l_is_settled, blocks && (started > 0 || traced) ? Py_True : Py_False);
    return 0;
}

/* -- ModuleLoop: watchers come and go */

/* `ModuleLoop._rebuild`. At most one prepare or check, as nearly always, is seen to here. */
static int rebuild(PyObject *loop, PyObject *kind, PyObject *order)
{
    int is_prepare = PyUnicode_Check(kind) && PyUnicode_Compare(kind, str_prepare) == 0;
    int is_check = PyUnicode_Check(kind) && PyUnicode_Compare(kind, str_check) == 0;
    Py_ssize_t many = PyList_GET_SIZE(order);
    if (many > 1 || !(is_prepare || is_check))
        return call_method_with(loop, str_rebuild, kind);
    PyObject *watcher = many ? PyList_GET_ITEM(order, 0) : NULL, *fn = Py_None;
    if (watcher != NULL && !is_a(watcher, Watcher))
        return wrong_type(watcher, "a watcher");
    if (watcher != NULL && (fn = have(watcher, w_fn)) == NULL)
        return -1;
    PyObject *calls = fn == Py_None ? PyTuple_New(0) : PyTuple_Pack(1, watcher);
    if (calls == NULL)
        return -1;
    Py_INCREF(fn);
    put(loop, is_prepare ? l_prepares : l_checks, calls);
    put(loop, is_prepare ? l_poll : l_check, fn);
    return 0;
}

/* The watchers of one watcher's kind: a reference of one's own; NULL with an error set. */
static PyObject *order_of(PyObject *loop, PyObject *watcher)
{
    PyObject *orders = have_a(loop, l_order, &PyDict_Type, "a dict of watchers");
    PyObject *kind = orders == NULL ? NULL : is_a(watcher, Watcher) ? have(watcher, w_kind) : NULL;
    if (orders != NULL && !is_a(watcher, Watcher))
        wrong_type(watcher, "a watcher");
    PyObject *order = kind == NULL ? NULL : PyDict_GetItemWithError(orders, kind);
    if (order == NULL) {
        if (!PyErr_Occurred())
            PyErr_SetObject(PyExc_KeyError, kind);
        return NULL;
    }
    if (!PyList_Check(order)) {
        wrong_type(order, "a list of watchers");
        return NULL;
    }
    return Py_NewRef(order);
}

/* What follows when the order of a kind has changed: more or less to call, and another judgement. */
static int order_changed(PyObject *loop, PyObject *watcher, PyObject *order, int more)
{
    PyObject *actor = have_a(loop, l_actor, Actor, "an actor"), *kind = have(watcher, w_kind);
    if (actor == NULL || kind == NULL || add_int(loop, l_started, more) < 0)
        return -1;
    if (more > 0 && FIELD(actor, a_loop) == Py_None && call_method(loop, str_attach) < 0)
        return -1;
    if (PyUnicode_Check(kind) && PyUnicode_Compare(kind, str_idle) == 0
        && (add_int(loop, l_nonblocking, more) < 0 || (more > 0 && keep_turning(loop) < 0)))
        return -1;
    PyObject *fn = have(watcher, w_fn);
    if (fn == NULL || (fn != Py_None && rebuild(loop, kind, order) < 0))
        return -1;
    return judge(loop);
}

static PyObject *module_loop_add(PyObject *self, PyObject *const *arguments, Py_ssize_t many)
{
    if (many != 2)
        return PyErr_Format(PyExc_TypeError, "add() takes 2 arguments, not %zd", many);
    PyObject *watcher = arguments[0], *order = order_of(self, watcher);
    int oldest = order == NULL ? -1 : PyObject_IsTrue(arguments[1]), result = -1;
    if (oldest >= 0 && (oldest ? PyList_Insert(order, 0, watcher) : PyList_Append(order, watcher)) == 0)
        result = order_changed(self, watcher, order, 1);
    Py_XDECREF(order);
    if (result < 0)
        return NULL;
    Py_RETURN_NONE;
}

/* The last goes into the place of the one that leaves. -1 with an error set. */
static int take_out(PyObject *order, PyObject *watcher)
{
    Py_ssize_t last = PyList_GET_SIZE(order) - 1;
    if (last < 0) {
        PyErr_SetString(PyExc_IndexError, "pop from empty list");
        return -1;
    }
    PyObject *moved = Py_NewRef(PyList_GET_ITEM(order, last));
    Py_ssize_t at = moved == watcher ? last : -1;
    int result = PyList_SetSlice(order, last, last + 1, NULL);
    if (result == 0 && at < 0 && (at = PySequence_Index(order, watcher)) >= 0)
        result = PyList_SetItem(order, at, Py_NewRef(moved));
    Py_DECREF(moved);
    return at < 0 ? -1 : result;
}

static PyObject *module_loop_drop(PyObject *self, PyObject *watcher)
{
    PyObject *order = order_of(self, watcher);
    int result = order == NULL || take_out(order, watcher) < 0 ? -1 : order_changed(self, watcher, order, -1);
    Py_XDECREF(order);
    if (result < 0)
        return NULL;
    Py_RETURN_NONE;
}

/* `ModuleLoop.call_next` */
static int call_next(PyObject *loop, PyObject *call, PyObject *response)
{
    PyObject *due = have_a(loop, l_continuations, &PyList_Type, "a list of continuations");
    PyObject *actor = have_a(loop, l_actor, Actor, "an actor"), *entry;
    if (due == NULL || actor == NULL || (entry = PyTuple_Pack(2, call, response)) == NULL)
        return -1;
    Py_INCREF(due);
    int added = PyList_Append(due, entry);
    Py_ssize_t many = PyList_GET_SIZE(due);
    Py_DECREF(due);
    Py_DECREF(entry);
    if (added < 0 || many > 1)
        return added;
    if (add_int(loop, l_nonblocking, 1) < 0)
        return -1;
    if (FIELD(actor, a_loop) == Py_None)
        set(actor, a_loop, loop);
    return judge(loop) < 0 ? -1 : keep_turning(loop);
}

/* `ModuleLoop.fulfil` */
static int loop_fulfil(PyObject *loop, PyObject *then, PyObject *response, PyObject *arg)
{
    PyObject *actor = have_a(loop, l_actor, Actor, "an actor"), *continues = NULL;
    long long started;
    if (actor == NULL || get_int(loop, l_started, &started) < 0)
        return -1;
    if (arg != at_once && started != 0 && (continues = PyObject_GetAttr(actor, str_continues)) == NULL)
        return -1;
    int later = continues == NULL ? 0 : PyObject_IsTrue(continues);
    Py_XDECREF(continues);
    if (later <= 0) {
        PyObject *arguments[] = {NULL, response, arg};
        return later < 0 ? -1 : done(PyObject_Vectorcall(then, arguments + 1, 2 | PY_VECTORCALL_ARGUMENTS_OFFSET, NULL));
    }
    if (add_int(actor, a_wakeups, -1) < 0) /* counted as a turn already; it is one if no message shares it */
        return -1;
    PyObject *call = PyObject_CallFunctionObjArgs(partial, then, response, arg, NULL);
    int called = call == NULL ? -1 : call_next(loop, call, response);
    Py_XDECREF(call);
    return called;
}

/* Call one continuation. 1, or 0 where it raised and has ended the actor, -1. */
static int go_on(PyObject *actor, PyObject *entry)
{
    if (!PyTuple_CheckExact(entry) || PyTuple_GET_SIZE(entry) != 2)
        return wrong_type(entry, "a continuation and its response");
    if (done(PyObject_CallNoArgs(PyTuple_GET_ITEM(entry, 0))) == 0)
        return 1;
    if (!PyErr_ExceptionMatches(failures))
        return -1;
    PyObject *error = caught(), *arguments[] = {actor, error, PyTuple_GET_ITEM(entry, 1)};
    int told = call_handling(error, str_failed, arguments, 3);
    Py_DECREF(error);
    return told;
}

/* `ModuleLoop._continue`: 1, or 0 if a continuation has ended the actor, -1. */
static int loop_continue(PyObject *loop, PyObject *actor, PyObject *checks, PyObject *due)
{
    PyObject *none = PyList_New(0);
    if (none == NULL)
        return -1;
    put(loop, l_continuations, none);
    if (add_int(loop, l_nonblocking, -1) < 0 || judge(loop) < 0)
        return -1;
    for (Py_ssize_t at = 0; at < PyList_GET_SIZE(due); at++) {
        PyObject *entry = Py_NewRef(PyList_GET_ITEM(due, at));
        int on = go_on(actor, entry);
        Py_DECREF(entry);
        if (on <= 0)
            return on;
    }
    for (Py_ssize_t at = 0; at < PyTuple_GET_SIZE(checks); at++) {
        PyObject *watcher = PyTuple_GET_ITEM(checks, at);
        if (!is_a(watcher, Watcher))
            return wrong_type(watcher, "a watcher");
        int active = is_set(watcher, w_active);
        PyObject *call = active > 0 ? have(watcher, w_fn) : NULL;
        if (active < 0 || (active && call == NULL))
            return -1;
        Py_XINCREF(call);
        int called = active ? done(PyObject_CallNoArgs(call)) : 0;
        Py_XDECREF(call);
        if (called < 0)
            return -1;
    }
    return 1;
}

/* `ModuleLoop.before_dispatch`: 1, or 0 if a continuation has ended the actor, -1. */
static int before_dispatch(PyObject *loop)
{
    PyObject *actor = have_a(loop, l_actor, Actor, "an actor");
    PyObject *checks = have_a(loop, l_checks, &PyTuple_Type, "a tuple of checks");
    PyObject *due = have_a(loop, l_continuations, &PyList_Type, "a list of continuations");
    if (actor == NULL || checks == NULL || due == NULL)
        return -1;
    if (PyList_GET_SIZE(due) == 0)
        return call_hook(loop, l_check, str_check) < 0 ? -1 : 1;
    Py_INCREF(actor);
    Py_INCREF(checks);
    Py_INCREF(due);
    int on = loop_continue(loop, actor, checks, due);
    Py_DECREF(due);
    Py_DECREF(checks);
    Py_DECREF(actor);
    return on;
}

static int loop_settle(PyObject *loop)
{
    long long nonblocking, started;
    int queued = is_set(loop, l_spin_queued), fresh = is_set(loop, l_fresh);
    if (queued < 0 || fresh < 0 || get_int(loop, l_nonblocking, &nonblocking) < 0 || get_int(loop, l_started, &started) < 0)
        return -1;
    if (nonblocking == 0) { /* nothing is left to call */
        PyObject *due = have_a(loop, l_continuations, &PyList_Type, "a list of continuations");
        PyObject *actor = have_a(loop, l_actor, Actor, "an actor");
        if (due == NULL || actor == NULL)
            return -1;
        int rests = !(started || queued || fresh || PyList_GET_SIZE(due));
        if (rests && FIELD(actor, a_loop) == loop && FIELD(actor, a_tracer) == Py_None)
            set(actor, a_loop, Py_None);
        return 0;
    }
    return queued ? 0 : keep_turning(loop);
}

static int loop_prepare(PyObject *loop)
{
    return call_hook(loop, l_poll, str_poll) < 0 ? -1 : loop_settle(loop);
}

/* `ModuleLoop.dispatch` without timers and descriptors. */
static int loop_dispatch(PyObject *loop, PyObject *message, int quiet)
{
    PyObject *actor = have_a(loop, l_actor, Actor, "an actor");
    if (actor == NULL)
        return -1;
    Py_INCREF(actor);
    int result;
    if (message == Py_None)
        result = add_int(actor, a_wakeups, 1);
    else {
        result = done(with_receiver(message, take_in));
        PyObject *after = result < 0 ? NULL : have(actor, a_loop);
        if (after != loop) {
            /* Its handler ended the actor, or waits, and the rest of the turn with it. */
            if (after == NULL)
                result = -1;
            else if (after != Py_None) {
                PyObject *arguments[] = {after, Py_None, no_routes};
                Py_INCREF(after);
                result = done(PyObject_VectorcallMethod(str_iterate, arguments, 3, NULL));
                Py_DECREF(after);
            }
            quiet = 0;
        }
    }
    Py_DECREF(actor);
    if (result < 0 || !quiet)
        return result;
    PyObject *idle = have(loop, l_idle);
    if (idle == NULL || idle == Py_None)
        return idle == NULL ? -1 : 0;
    Py_INCREF(idle);
    result = add_int(loop, l_idle_calls, 1) < 0 ? -1 : done(PyObject_CallNoArgs(idle));
    Py_DECREF(idle);
    return result;
}

static PyObject *module_loop_settle(PyObject *self, PyObject *Py_UNUSED(nothing))
{
    if (loop_settle(self) < 0)
        return NULL;
    Py_RETURN_NONE;
}

static PyObject *module_loop_prepare(PyObject *self, PyObject *Py_UNUSED(nothing))
{
    if (loop_prepare(self) < 0)
        return NULL;
    Py_RETURN_NONE;
}

static PyObject *module_loop_before_dispatch(PyObject *self, PyObject *Py_UNUSED(nothing))
{
    int on = before_dispatch(self);
    return on < 0 ? NULL : PyBool_FromLong(on);
}

static PyObject *module_loop_fulfil(PyObject *self, PyObject *const *args, Py_ssize_t given)
{
    if (given != 3) {
        PyErr_SetString(PyExc_TypeError, "fulfil() takes a continuation, a response and an argument");
        return NULL;
    }
    if (loop_fulfil(self, args[0], args[1], args[2]) < 0)
        return NULL;
    Py_RETURN_NONE;
}

static PyObject *module_loop_call_next(PyObject *self, PyObject *const *args, Py_ssize_t given, PyObject *keywords)
{
    static const char *const known[] = {"call", "response"};
    PyObject *found[] = {NULL, Py_None};
    if (read_arguments("call_next", args, given, keywords, known, found, 2) < 0 || call_next(self, found[0], found[1]) < 0)
        return NULL;
    Py_RETURN_NONE;
}

static PyObject *module_loop_dispatch(PyObject *self, PyObject *const *args, Py_ssize_t given, PyObject *keywords)
{
    static const char *const known[] = {"message", "due", "fds", "quiet"};
    PyObject *found[] = {NULL, NULL, NULL, NULL};
    if (read_arguments("dispatch", args, given, keywords, known, found, 4) < 0)
        return NULL;
    if (!found[1] || !found[2] || !found[3]) {
        PyErr_SetString(PyExc_TypeError, "dispatch() takes a message, timers, descriptors and whether all is quiet");
        return NULL;
    }
    int due = PyObject_IsTrue(found[1]), fds = PyObject_IsTrue(found[2]), quiet = PyObject_IsTrue(found[3]);
    if (due < 0 || fds < 0 || quiet < 0)
        return NULL;
    if (due || fds)
        return PyObject_CallFunctionObjArgs(python_dispatch, self, found[0], found[1], found[2], found[3], NULL);
    if (loop_dispatch(self, found[0], quiet) < 0)
        return NULL;
    Py_RETURN_NONE;
}

/* Has a loop something to call before a dispatch? `Loop.is_due` */
static int is_due(PyObject *loop)
{
    if (loop == Py_None)
        return 0;
    if (!is_a(loop, ModuleLoop)) {
        PyObject *due = PyObject_GetAttr(loop, str_is_due);
        int is_true = due == NULL ? -1 : PyObject_IsTrue(due);
        Py_XDECREF(due);
        return is_true;
    }
    PyObject *checks = have_a(loop, l_checks, &PyTuple_Type, "a tuple of checks");
    PyObject *due = have_a(loop, l_continuations, &PyList_Type, "a list of continuations");
    return checks == NULL || due == NULL ? -1 : PyTuple_GET_SIZE(checks) || PyList_GET_SIZE(due);
}

/* Will a loop turn without a message? `Loop.turns_on`, and `spins` after a change. */
static int goes_on(PyObject *loop, int changed)
{
    if (loop == Py_None)
        return 0;
    if (is_a(loop, ModuleLoop)) {
        PyObject *idles = have_a(loop, l_idles, &PyTuple_Type, "a tuple of idles");
        long long nonblocking;
        if (idles == NULL || get_int(loop, l_nonblocking, &nonblocking) < 0)
            return -1;
        return nonblocking > PyTuple_GET_SIZE(idles) || (PyTuple_GET_SIZE(idles) > 0 && changed);
    }
    for (int at = 0; at < 1 + changed; at++) {
        PyObject *found = PyObject_GetAttr(loop, at ? str_spins : str_turns_on);
        int is_true = found == NULL ? -1 : PyObject_IsTrue(found);
        Py_XDECREF(found);
        if (is_true)
            return is_true;
    }
    return 0;
}

/* -- Station */

static int station_count(PyObject *station, int on)
{
    int counted = is_set(station, s_counted);
    if (counted < 0 || counted == on)
        return counted < 0 ? -1 : 0;
    set(station, s_counted, on ? Py_True : Py_False);
    PyObject *node = have_a(station, s_node, Node, "a node");
    return node == NULL ? -1 : node_count(node, on ? 1 : -1);
}

/* `Station.settle`: credit the iterations spun since the last event. */
static int station_settle(PyObject *station)
{
    int spinning = is_set(station, s_spinning);
    if (spinning <= 0 || FIELD(station, s_phase) != Py_None)
        return spinning < 0 ? -1 : 0;
    PyObject *node = have_a(station, s_node, Node, "a node"), *actor = have_a(station, s_actor, Actor, "an actor");
    PyObject *loop = actor == NULL ? NULL : have(actor, a_loop);
    long long service, since, iteration;
    if (node == NULL || loop == NULL || node_advance(node) < 0)
        return -1;
    if (get_int(node, n_service, &service) < 0 || get_int(station, s_spin_from, &since) < 0
        || get_int(node, n_iteration, &iteration) < 0)
        return was_too_large() ? done(PyObject_CallOneArg(python_settle, station)) : -1;
    if (loop == Py_None || iteration <= 0 || service < since)
        return loop == Py_None || iteration == 0 ? 0 : done(PyObject_CallOneArg(python_settle, station));
    long long turns = (service - since) / iteration;
    if (turns == 0)
        return 0;
    if (put_int(station, s_spin_from, since + turns * iteration) < 0)
        return -1;
    PyObject *earned = PyLong_FromLongLong(turns);
    Py_INCREF(loop);
    int told = earned == NULL ? -1 : call_method_with(loop, str_earn, earned);
    Py_DECREF(loop);
    Py_XDECREF(earned);
    return told;
}

/* What is to be called before a dispatch is called at the beginning of its service, and its packets are paid for: `more`. */
static int call_before(PyObject *node, PyObject *actor, PyObject *loop, long long *more)
{
    PyObject *reactor = have_a(node, n_reactor, Reactor, "a reactor");
    long long extra, after = 0, packet = 0;
    if (reactor == NULL || get_int(reactor, r_extra, &extra) < 0)
        return -1;
    Py_INCREF(reactor);
    Py_INCREF(loop);
    set(reactor, r_current, actor);
    int called = is_a(loop, ModuleLoop) ? before_dispatch(loop) : call_method(loop, str_before_dispatch);
    if (called < 0 && PyErr_ExceptionMatches(failures)) {
        PyObject *error = caught(), *arguments[] = {actor, error, Py_None};
        called = call_handling(error, str_failed, arguments, 3);
        Py_DECREF(error);
    }
    if (called >= 0) {
        set(reactor, r_current, Py_None);
        called = get_int(reactor, r_extra, &after) < 0 || get_int(node, n_packet, &packet) < 0 ? -1 : 0;
        *more = (after - extra) * packet;
    }
    Py_DECREF(loop);
    Py_DECREF(reactor);
    return called;
}

/* `Station._checks`: check watchers run when service begins. */
static int station_checks(PyObject *station, PyObject *phase, long long demand)
{
    PyObject *actor = have_a(station, s_actor, Actor, "an actor"), *loop = actor == NULL ? NULL : have(actor, a_loop);
    int due = loop == NULL ? -1 : is_due(loop);
    if (due < 0)
        return -1;
    PyObject *node = have_a(station, s_node, Node, "a node");
    if (node == NULL)
        return -1;
    set(station, s_phase, phase);
    long long more = 0;
    Py_INCREF(node);
    Py_INCREF(actor);
    int called = due ? call_before(node, actor, loop, &more) : 0;
    int gone = called < 0 ? -1 : is_set(station, s_gone);
    int result = gone ? (gone > 0 ? 0 : -1) : node_begin(node, station, demand + more, 0);
    Py_DECREF(actor);
    Py_DECREF(node);
    return result;
}

/* `Node.wait_demand` */
static int wait_demand(PyObject *node, int spins, long long *demand)
{
    long long spinners, cores, runnable, wait;
    if (get_int(node, n_spinners, &spinners) < 0 || get_int(node, n_cores, &cores) < 0
        || get_int(node, n_runnable, &runnable) < 0 || get_int(node, spins ? n_slice : n_wake, &wait) < 0)
        return -1;
    long long waiting = spinners + !spins;
    if (waiting <= cores) {
        *demand = 0;
        return 0;
    }
    if (runnable <= 0) {
        PyErr_SetString(PyExc_ZeroDivisionError, "a station waits for a core, but none is runnable");
        return -1;
    }
    __int128 needed = share(wait, waiting - cores, runnable, 0);
    if (needed > LLONG_MAX / 2) {
        PyErr_SetString(PyExc_OverflowError, "a wait for a core of more than a century");
        return -1;
    }
    *demand = (long long)needed;
    return 0;
}

/* What handling an item costs: an iteration, and for a message its own price. */
static int price(PyObject *node, PyObject *item, long long *demand)
{
    if (get_int(node, n_iteration, demand) < 0)
        return -1;
    if (!Py_IS_TYPE(item, Message))
        return 0;
    PyObject *topics = have_a(node, n_topics, &PyDict_Type, "a dict of prices"), *topic = have(item, m_topic), *own = NULL;
    long long more;
    if (topics == NULL || topic == NULL)
        return -1;
    if (PyDict_GET_SIZE(topics) && (own = PyDict_GetItemWithError(topics, topic)) == NULL && PyErr_Occurred())
        return -1;
    if (own == NULL ? get_int(node, n_message, &more) < 0 : (more = PyLong_AsLongLong(own)) == -1 && PyErr_Occurred())
        return -1;
    *demand += more;
    return 0;
}

static int serve(PyObject *station, PyObject *item)
{
    PyObject *node = have_a(station, s_node, Node, "a node"), *actor = have_a(station, s_actor, Actor, "an actor");
    int spinning = is_set(station, s_spinning);
    long long demand, more, spinners;
    if (node == NULL || actor == NULL || spinning < 0 || (spinning && station_settle(station) < 0))
        return -1;
    set(station, s_item, item);
    PyObject *loop = have(actor, a_loop);
    if (price(node, item, &demand) < 0 || get_int(node, n_spinners, &spinners) < 0 || loop == NULL)
        return -1;
    int due = spinners ? 1 : is_due(loop);
    if (due == 0) {
        int counted = is_set(station, s_counted);
        set(station, s_phase, str_dispatch);
        set(station, s_counted, Py_True);
        return counted < 0 ? -1 : node_begin(node, station, demand, !counted);
    }
    if (due < 0 || station_count(station, 1) < 0 || wait_demand(node, spinning, &more) < 0)
        return -1;
    return station_checks(station, str_dispatch, demand + more);
}

/* `Station._serve`. All that has happened where a number was too large may happen twice. */
static int station_serve(PyObject *station, PyObject *item)
{
    if (serve(station, item) == 0)
        return 0;
    return was_too_large() ? done(PyObject_CallFunctionObjArgs(python_serve, station, item, NULL)) : -1;
}

static int station_arrive(PyObject *station, PyObject *item)
{
    int gone = is_set(station, s_gone);
    long type = gone == 0 && Py_IS_TYPE(item, Message) ? type_of(item) : 1;
    if (gone || type == 0 || failed(type))
        return gone < 0 || failed(type) ? -1 : 0; /* late for a module that ended, or a turn queued while nothing was charged */
    PyObject *phase = have(station, s_phase), *inbox = have(station, s_inbox), *spinning = have(station, s_spinning);
    if (!phase || !inbox || !spinning)
        return -1;
    if (phase != Py_None)
        return call_method_with(inbox, str_append, item);
    /* A loop that spins finds it queued at its next prepare, like one from a backlog: see Python. */
    set(station, s_backlog, spinning);
    return station_serve(station, item);
}

static int station_next(PyObject *station, int changed)
{
    PyObject *inbox = have(station, s_inbox), *node = have_a(station, s_node, Node, "a node");
    PyObject *actor = have_a(station, s_actor, Actor, "an actor"), *loop = actor == NULL ? NULL : have(actor, a_loop);
    Py_ssize_t waiting = inbox == NULL || node == NULL || loop == NULL ? -1 : PyObject_Size(inbox);
    if (waiting < 0)
        return -1;
    if (waiting) {
        set(station, s_backlog, Py_True); /* whatever the loop did when it came, a prepare of it lies in between */
        PyObject *item = PyObject_CallMethodNoArgs(inbox, str_popleft);
        int served = item == NULL ? -1 : station_serve(station, item);
        Py_XDECREF(item);
        return served;
    }
    long long iteration;
    int on = goes_on(loop, changed);
    if (on)
        return on < 0 || get_int(node, n_iteration, &iteration) < 0 ? -1 : station_checks(station, str_spin, iteration);
    set(station, s_phase, Py_None);
    int spinning = is_set(station, s_spinning);
    if (spinning == 0)
        return station_count(station, 0);
    PyObject *service = spinning < 0 ? NULL : have(node, n_service);
    if (service == NULL)
        return -1;
    set(station, s_spin_from, service);
    return 0;
}

/* `Station._iterate` */
static int iterate(PyObject *station, PyObject *actor, PyObject *loop, PyObject *message, PyObject *due, int quiet)
{
    PyObject *is_quiet = quiet ? Py_True : Py_False;
    if (loop == Py_None) {
        PyObject *arguments[] = {station, message, due, is_quiet};
        return done(PyObject_VectorcallMethod(str_station_iterate, arguments, 4, NULL));
    }
    int is_ours = is_a(loop, ModuleLoop), result;
    if (is_ours && due == no_routes)
        result = loop_dispatch(loop, message, quiet);
    else {
        PyObject *arguments[] = {loop, message, due, no_routes, is_quiet};
        result = done(PyObject_VectorcallMethod(str_dispatch, arguments, 5, NULL));
    }
    if (result < 0 || FIELD(actor, a_loop) != loop)
        return result;
    return is_ours ? loop_prepare(loop) : call_method(loop, str_prepare);
}

/* The item in service takes effect. */
static int take_effect(PyObject *station, PyObject *actor, PyObject *loop, PyObject *phase, PyObject *item)
{
    int is_message = Py_IS_TYPE(item, Message), is_plain = loop == Py_None;
    if (is_message && !is_plain)
        is_plain = holds(loop, l_is_plain, str_is_plain);
    if (is_plain < 0)
        return -1;
    if (is_message && is_plain)
        return done(with_receiver(item, turn_plainly));
    if (phase == str_spin)
        return iterate(station, actor, loop, Py_None, no_routes, 1);
    int backlog = is_set(station, s_backlog);
    if (backlog < 0)
        return -1;
    if (is_message)
        return iterate(station, actor, loop, item, no_routes, backlog);
    return iterate(station, actor, loop, Py_None, item == Py_None ? no_routes : item, 0);
}

/* What is still to be paid once an item has taken effect: packets, and the turn of a continuation that was called at once. */
static int still_owed(
    PyObject *station, PyObject *node, PyObject *reactor, PyObject *loop, PyObject *item, long long extra, PyObject *wakeups,
    long long *owed)
{
    long long after, packet;
    if (get_int(reactor, r_extra, &after) < 0 || get_int(node, n_packet, &packet) < 0)
        return -1;
    *owed = (after - extra) * packet;
    if (loop != Py_None || !Py_IS_TYPE(item, Message) || type_of(item) != RESPONSE)
        return PyErr_Occurred() ? -1 : 0;
    PyObject *more = PyObject_CallMethodOneArg(station, str_continued, wakeups);
    long long paid = more == NULL ? -1 : PyLong_AsLongLong(more);
    Py_XDECREF(more);
    *owed += paid;
    return paid == -1 && PyErr_Occurred() ? -1 : 0;
}

static int finish(PyObject *station, PyObject *node, PyObject *actor, PyObject *loop, PyObject *phase, PyObject *item)
{
    PyObject *reactor = have_a(node, n_reactor, Reactor, "a reactor"), *wakeups = have(actor, a_wakeups);
    long long extra, owed;
    if (reactor == NULL || wakeups == NULL || get_int(reactor, r_extra, &extra) < 0)
        return -1;
    Py_INCREF(reactor);
    Py_INCREF(wakeups);
    set(reactor, r_current, actor);
    int result = take_effect(station, actor, loop, phase, item);
    if (result < 0 && PyErr_ExceptionMatches(failures)) {
        PyObject *error = caught(), *arguments[] = {station, error, item};
        result = call_handling(error, str_raised, arguments, 3);
        Py_DECREF(error);
    }
    int gone = -1;
    if (result == 0) {
        set(reactor, r_current, Py_None);
        gone = is_set(station, s_gone);
    }
    result = gone ? (gone > 0 ? 0 : -1) : still_owed(station, node, reactor, loop, item, extra, wakeups, &owed);
    Py_DECREF(reactor);
    Py_DECREF(wakeups);
    if (gone || result < 0)
        return result;
    if (owed) {
        set(station, s_phase, str_tail);
        return node_begin(node, station, owed, 0);
    }
    return station_next(station, phase != str_spin);
}

static int station_done(PyObject *station)
{
    PyObject *node = have_a(station, s_node, Node, "a node"), *actor = have_a(station, s_actor, Actor, "an actor");
    PyObject *phase = have(station, s_phase), *item = have(station, s_item);
    PyObject *loop = actor == NULL ? NULL : have(actor, a_loop);
    if (!node || !phase || !item || !loop)
        return -1;
    Py_INCREF(phase);
    Py_INCREF(item);
    set(station, s_item, Py_None);
    int result;
    if (phase == str_tail)
        result = station_next(station, 1);
    else {
        Py_INCREF(node);
        Py_INCREF(actor);
        Py_INCREF(loop);
        result = finish(station, node, actor, loop, phase, item);
        Py_DECREF(loop);
        Py_DECREF(actor);
        Py_DECREF(node);
    }
    Py_DECREF(phase);
    Py_DECREF(item);
    return result;
}

/* -- Node: the end of a service */

/* The first in service is done. 1 if the next may follow at once, 0 if not, -1. */
static int complete_first(PyObject *node, PyObject *reactor, PyObject *heap)
{
    PyObject *popped = PyList_GET_SIZE(heap) == 0 || earliest(heap) != NULL ? PyObject_CallOneArg(heap_pop, heap) : NULL;
    if (popped == NULL)
        return -1;
    PyObject *end = PyTuple_GET_ITEM(popped, 0), *station = PyTuple_GET_ITEM(popped, 2), *service = have(node, n_service);
    int result = service == NULL ? -1 : PyObject_RichCompareBool(end, service, Py_GT);
    if (result > 0) /* rounding may leave it a nanosecond short */
        set(node, n_service, end);
    if (result >= 0) {
        int gone = is_a(station, Station) ? is_set(station, s_gone) : wrong_type(station, "a station");
        result = gone ? (gone < 0 ? -1 : 0) : station_done(station);
    }
    Py_DECREF(popped);
    PyObject *free_until = result < 0 ? NULL : have(reactor, r_free_until);
    if (free_until == NULL)
        return -1;
    int others = PyObject_RichCompareBool(free_until, zero, Py_LT);
    if (others)
        return others < 0 ? -1 : 0;
    PyObject *fifo = have(reactor, r_fifo);
    Py_ssize_t waiting = fifo == NULL ? -1 : PyObject_Size(fifo);
    if (waiting < 0 || (waiting && hand_out(reactor) < 0))
        return -1;
    return PyList_GET_SIZE(heap) > 0;
}

/* Time passes until the next service is complete. 1, or 0 if something else has to come before, -1. */
static int pass_to_next(PyObject *node, PyObject *reactor, PyObject *heap)
{
    PyObject *entry = earliest(heap);
    if (entry == NULL)
        return -1;
    long long end = PyLong_AsLongLong(PyTuple_GET_ITEM(entry, 0)), service, runnable, cores, now;
    if ((end == -1 && PyErr_Occurred()) || get_int(node, n_service, &service) < 0 || get_int(node, n_runnable, &runnable) < 0
        || get_int(node, n_cores, &cores) < 0 || get_int(reactor, r_now, &now) < 0)
        return was_too_large() ? 0 : -1; /* `_schedule` goes on from here */
    long long left = end - service;
    if (left <= 0)
        return 1;
    __int128 when = now + (runnable <= cores ? left : share(left, runnable, cores, 1));
    if (when > LLONG_MAX)
        return 0;
    PyObject *then = PyLong_FromLongLong((long long)when);
    int passed = then == NULL ? -1 : reactor_pass(reactor, then);
    if (passed > 0) {
        set(node, n_since, then);
        passed = put_int(node, n_service, end) < 0 ? -1 : 1;
    }
    Py_XDECREF(then);
    return passed;
}

static PyObject *node_complete(PyObject *self, PyObject *Py_UNUSED(nothing))
{
    PyObject *reactor = have_a(self, n_reactor, Reactor, "a reactor"), *heap = have_a(self, n_heap, &PyList_Type, "a heap");
    if (reactor == NULL || heap == NULL)
        return NULL;
    Py_INCREF(reactor);
    Py_INCREF(heap);
    set(self, n_completing, Py_True);
    int on = node_advance(self) < 0 ? -1 : 1;
    for (int at = 0; at < AT_ONCE && on > 0; at++) {
        on = PyErr_CheckSignals() < 0 ? -1 : complete_first(self, reactor, heap);
        on = on > 0 ? pass_to_next(self, reactor, heap) : on;
    }
    Py_DECREF(reactor);
    Py_DECREF(heap);
    if (on < 0)
        return NULL;
    set(self, n_completing, Py_False);
    if (node_advance(self) < 0 || call_method(self, str_schedule) < 0)
        return NULL;
    Py_RETURN_NONE;
}

/* -- what Python calls */

#define WITHOUT_ARGUMENTS(name, act)                                                                                          \
    static PyObject *name(PyObject *self, PyObject *Py_UNUSED(nothing))                                                       \
    {                                                                                                                         \
        if ((act) < 0)                                                                                                        \
            return NULL;                                                                                                      \
        Py_RETURN_NONE;                                                                                                       \
    }
WITHOUT_ARGUMENTS(node_advance_called, node_advance(self))
WITHOUT_ARGUMENTS(node_join_called, node_count(self, 1))
WITHOUT_ARGUMENTS(node_leave_called, node_count(self, -1))
WITHOUT_ARGUMENTS(station_done_called, station_done(self))
WITHOUT_ARGUMENTS(station_settle_called, station_settle(self))

static PyObject *station_arrive_called(PyObject *self, PyObject *item)
{
    if (station_arrive(self, item) < 0)
        return NULL;
    Py_RETURN_NONE;
}

static PyObject *node_begin_called(PyObject *self, PyObject *const *args, Py_ssize_t given, PyObject *keywords)
{
    static const char *const known[] = {"station", "demand", "joins"};
    PyObject *found[] = {NULL, zero, Py_False};
    if (read_arguments("begin", args, given, keywords, known, found, 3) < 0)
        return NULL;
    long long demand = PyLong_Check(found[1]) ? PyLong_AsLongLong(found[1]) : wrong_type(found[1], "an int");
    if (demand == -1 && PyErr_Occurred())
        return NULL;
    if (!is_a(found[0], Station)) {
        wrong_type(found[0], "a station");
        return NULL;
    }
    if (node_begin(self, found[0], demand, found[2] == Py_True) < 0)
        return NULL;
    Py_RETURN_NONE;
}

/* `Station._next(changed=True)` */
static PyObject *station_next_called(PyObject *self, PyObject *const *args, Py_ssize_t given, PyObject *keywords)
{
    static const char *const known[] = {"changed"};
    PyObject *found[] = {Py_True};
    if (read_arguments("_next", args, given, keywords, known, found, 1) < 0 || station_next(self, found[0] == Py_True) < 0)
        return NULL;
    Py_RETURN_NONE;
}

static PyObject *station_serve_called(PyObject *self, PyObject *item)
{
    if (station_serve(self, item) < 0)
        return NULL;
    Py_RETURN_NONE;
}

static PyObject *station_checks_called(PyObject *self, PyObject *const *args, Py_ssize_t given, PyObject *keywords)
{
    static const char *const known[] = {"phase", "demand"};
    PyObject *found[] = {NULL, zero};
    if (read_arguments("_checks", args, given, keywords, known, found, 2) < 0)
        return NULL;
    long long demand = PyLong_Check(found[1]) ? PyLong_AsLongLong(found[1]) : wrong_type(found[1], "an int");
    if ((demand == -1 && PyErr_Occurred()) || station_checks(self, found[0], demand) < 0)
        return NULL;
    Py_RETURN_NONE;
}

/* `Instrument.emit`: nothing moved, which is nearly always; else Python sends. */
static PyObject *instrument_emit(PyObject *self, PyObject *Py_UNUSED(nothing))
{
    PyObject *counts = have(self, i_counts), *last = have(self, i_last);
    if (counts == NULL || last == NULL)
        return NULL;
    Py_INCREF(counts);
    Py_INCREF(last);
    int same = PyObject_RichCompareBool(counts, last, Py_EQ);
    Py_DECREF(counts);
    Py_DECREF(last);
    if (same < 0)
        return NULL;
    if (!same)
        return PyObject_CallOneArg(python_emit, self);
    Py_RETURN_NONE;
}

#endif
