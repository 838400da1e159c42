/* Knows what arrives over links at one instant, and the drain behind each arrival: the twin of `Reactor.arrive_at`, `_arrive`
 * and `drain_all`, of `Link.send` and of `pass_down` in routing/rank.py.
 */
#ifndef BROKERSIM_ARRIVALS_H
#define BROKERSIM_ARRIVALS_H

#include "turns.h"

/* The type of the message at one end of the queue: 0 for a turn of a loop that spins, -1 with an error set. */
static long type_at(PyObject *fifo, Py_ssize_t at)
{
    PyObject *message = PySequence_GetItem(fifo, at);
    long type = message == NULL ? -1 : type_of(message);
    Py_XDECREF(message);
    return type;
}

/* Is `Reactor._drain` no more than `_drain_free` and a look at the instant? -1 with an error set. */
static int is_plain_drain(PyObject *self, PyObject *fifo, Py_ssize_t waiting)
{
    if (FIELD(self, r_charged) != Py_False || waiting > BUDGET)
        return 0;
    long first = type_at(fifo, 0), last = failed(first) ? -1 : type_at(fifo, waiting - 1);
    return failed(last) ? -1 : first && last;
}

/* `Reactor._drain(BUDGET)` */
static int drain_batch(PyObject *self, PyObject *fifo, Py_ssize_t waiting)
{
    int is_plain = is_plain_drain(self, fifo, waiting);
    if (is_plain < 0)
        return -1;
    if (!is_plain)
        return call_method_with(self, str_drain, budget_number);
    PyObject *batches = have(self, r_batches), *full = have(self, r_full);
    if (batches == NULL || full == NULL)
        return -1;
    if (!is_a(full, Instant))
        return wrong_type(full, "an instant");
    PyObject *more = PyNumber_Add(batches, one);
    if (more == NULL)
        return -1;
    put(self, r_batches, more);
    Py_INCREF(full);
    int drained = drain_free(self, BUDGET);
    if (drained == 0 && FIELD(self, r_jumps) == Py_True && (PyObject_Size(fifo) != 0 || FIELD(full, n_count) != zero))
        drained = call_method(self, str_watch_instant);
    Py_DECREF(full);
    if (drained == 0)
        set(self, r_current, Py_None);
    return drained;
}

/* `Reactor.drain_all` */
static int drain_all(PyObject *self)
{
    PyObject *fifo = have(self, r_fifo);
    if (fifo == NULL)
        return -1;
    Py_INCREF(fifo);
    int drained = 0;
    Py_ssize_t waiting;
    while (drained == 0 && (waiting = PyObject_Size(fifo)) != 0)
        drained = waiting < 0 ? -1 : drain_batch(self, fifo, waiting);
    Py_DECREF(fifo);
    return drained;
}

static PyObject *reactor_drain_all(PyObject *self, PyObject *Py_UNUSED(nothing))
{
    if (drain_all(self) < 0)
        return NULL;
    Py_RETURN_NONE;
}

/* What arrives at an instant, taken out of the table and kept in it as what has not arrived yet; the next is the last. */
static PyObject *take_arrivals(PyObject *self, PyObject *when)
{
    PyObject *table = have(self, r_arrivals);
    if (table == NULL)
        return NULL;
    if (!PyDict_CheckExact(table)) {
        wrong_type(table, "a dict of arrivals");
        return NULL;
    }
    PyObject *found = PyDict_GetItemWithError(table, when);
    if (found == NULL || !PyList_CheckExact(found)) {
        if (!PyErr_Occurred())
            PyErr_SetObject(PyExc_KeyError, when);
        return NULL;
    }
    PyObject *arrivals = PyList_GetSlice(found, 0, PyList_GET_SIZE(found));
    if (arrivals == NULL || PyList_Reverse(arrivals) < 0 || PyDict_DelItem(table, when) < 0
        || PyDict_SetItem(table, minus_one, arrivals) < 0)
        Py_CLEAR(arrivals);
    return arrivals;
}

/* `Reactor._arrive` */
static PyObject *reactor_arrive(PyObject *self, PyObject *when)
{
    PyObject *arrivals = take_arrivals(self, when);
    if (arrivals == NULL)
        return NULL;
    int result = 0;
    Py_ssize_t many;
    while (result == 0 && (many = PyList_GET_SIZE(arrivals)) > 0) {
        PyObject *arrival = Py_NewRef(PyList_GET_ITEM(arrivals, many - 1));
        if (PyList_SetSlice(arrivals, many - 1, many, NULL) < 0)
            result = -1;
        else if (!PyTuple_CheckExact(arrival) || PyTuple_GET_SIZE(arrival) != 2)
            result = wrong_type(arrival, "a receiver and a message");
        else if (done(PyObject_CallOneArg(PyTuple_GET_ITEM(arrival, 0), PyTuple_GET_ITEM(arrival, 1))) < 0)
            result = -1;
        Py_DECREF(arrival);
        if (result == 0)
            result = drain_all(self); /* what one arrival causes comes before the next */
    }
    Py_DECREF(arrivals);
    if (result < 0)
        return NULL;
    Py_RETURN_NONE;
}

/* The list of what arrives at an instant, made with its timer if need be; borrowed. */
static PyObject *arrivals_at(PyObject *self, PyObject *table, PyObject *when)
{
    PyObject *found = PyDict_GetItemWithError(table, when);
    if (found != NULL || PyErr_Occurred())
        return found;
    PyObject *list = PyList_New(0);
    int set = list == NULL ? -1 : PyDict_SetItem(table, when, list);
    Py_XDECREF(list); /* the table's, from now on */
    PyObject *arrive = set < 0 ? NULL : PyObject_GetAttr(self, str_arrive_due);
    int timed = arrive == NULL ? -1 : done(PyObject_CallMethodObjArgs(self, str_call_at, when, arrive, when, NULL));
    Py_XDECREF(arrive);
    return timed < 0 ? NULL : PyDict_GetItemWithError(table, when);
}

/* `Reactor.arrive_at` */
static int arrive_at(PyObject *self, PyObject *when, PyObject *receive, PyObject *message)
{
    if (FIELD(self, r_jumps) != Py_True || FIELD(self, r_is_inside) != Py_True)
        return done(PyObject_CallMethodObjArgs(self, str_call_at, when, receive, message, NULL));
    PyObject *table = have(self, r_arrivals);
    if (table == NULL)
        return -1;
    if (!PyDict_CheckExact(table))
        return wrong_type(table, "a dict of arrivals");
    PyObject *arrivals = arrivals_at(self, table, when);
    if (arrivals == NULL || !PyList_CheckExact(arrivals)) {
        if (!PyErr_Occurred())
            PyErr_SetString(PyExc_TypeError, "arrivals of an instant are a list");
        return -1;
    }
    PyObject *arrival = PyTuple_Pack(2, receive, message);
    int appended = arrival == NULL ? -1 : PyList_Append(arrivals, arrival);
    Py_XDECREF(arrival);
    return appended;
}

static PyObject *reactor_arrive_at(PyObject *self, PyObject *const *args, Py_ssize_t given)
{
    if (given != 3) {
        PyErr_SetString(PyExc_TypeError, "arrive_at() takes a time, a receiver and a message");
        return NULL;
    }
    if (arrive_at(self, args[0], args[1], args[2]) < 0)
        return NULL;
    Py_RETURN_NONE;
}

/* -- links */

/* `Link.send` of one that has a latency and neither tap nor port; 0 where it is otherwise, 1 where it was sent. */
static int send_plainly(PyObject *link, PyObject *receive, PyObject *message)
{
    PyObject *latency = have(link, k_latency), *sent = have(link, k_sent), *peer = have(link, k_peer);
    if (latency == NULL || sent == NULL || peer == NULL)
        return -1;
    if (FIELD(link, k_tap) != Py_None || FIELD(link, k_port) != Py_None || !PyLong_CheckExact(latency) || latency == zero)
        return 0;
    PyObject *reactor = PyObject_GetAttr(peer, str_reactor);
    if (reactor == NULL)
        return -1;
    int result = 0;
    if (is_a(reactor, Reactor) && FIELD(reactor, r_now) != NULL) {
        PyObject *when = PyNumber_Add(FIELD(reactor, r_now), latency), *more = PyNumber_Add(sent, one);
        if (when == NULL || more == NULL)
            result = -1;
        else {
            set(link, k_sent, more);
            result = arrive_at(reactor, when, receive, message) < 0 ? -1 : 1;
        }
        Py_XDECREF(when);
        Py_XDECREF(more);
    }
    Py_DECREF(reactor);
    return result;
}

/* One link of `pass_down`. */
static int pass_over(PyObject *link, PyObject *event)
{
    PyObject *connection = PyObject_GetAttr(link, str_connection);
    PyObject *is_whole = connection == NULL ? NULL : PyObject_GetAttr(connection, str_is_whole);
    int passes = is_whole == NULL ? -1 : PyObject_IsTrue(is_whole);
    PyObject *receive = passes > 0 ? PyObject_GetAttr(connection, str_distribute) : NULL;
    if (passes > 0)
        passes = receive == NULL ? -1 : 1;
    if (passes > 0) {
        int sent = Link != NULL && Py_IS_TYPE(link, Link) ? send_plainly(link, receive, event) : 0;
        passes = sent != 0 ? sent : done(PyObject_CallMethodObjArgs(link, str_send, receive, event, NULL));
    }
    Py_XDECREF(receive);
    Py_XDECREF(is_whole);
    Py_XDECREF(connection);
    return passes < 0 ? -1 : 0;
}

/* `pass_down` of routing/rank.py */
static PyObject *rank_pass_down(PyObject *Py_UNUSED(module), PyObject *const *args, Py_ssize_t given)
{
    if (given != 2 || !PyTuple_CheckExact(args[1])) {
        PyErr_SetString(PyExc_TypeError, "pass_down() takes an event and a tuple of links");
        return NULL;
    }
    for (Py_ssize_t at = 0; at < PyTuple_GET_SIZE(args[1]); at++)
        if (pass_over(PyTuple_GET_ITEM(args[1], at), args[0]) < 0)
            return NULL;
    Py_RETURN_NONE;
}

#endif
