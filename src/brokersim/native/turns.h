/* Knows one message that is handed out, and the queue of them: the twin of reactor/actor.py, turn.py and `_drain_free`. */
#ifndef BROKERSIM_TURNS_H
#define BROKERSIM_TURNS_H

#include "known.h"

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

static int loop_fulfil(PyObject *loop, PyObject *then, PyObject *response, PyObject *arg); /* costs.h */

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
    else if (is_a(loop, ModuleLoop))
        called = loop_fulfil(loop, then, message, arg);
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
                if (hand(dst, message, type) == 0 && hand_on(dst, message, type, loop) == 0) {
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

/* `Reactor._drain_free` */
static int drain_free(PyObject *self, long budget)
{
    PyObject *fifo = have(self, r_fifo);
    PyObject *popleft = fifo == NULL ? NULL : PyObject_GetAttr(fifo, str_popleft);
    if (popleft == NULL)
        return -1;
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
    return result;
}

static PyObject *reactor_drain_free(PyObject *self, PyObject *argument)
{
    long budget = PyLong_AsLong(argument);
    if (failed(budget) || drain_free(self, budget) < 0)
        return NULL;
    Py_RETURN_NONE;
}

#endif
