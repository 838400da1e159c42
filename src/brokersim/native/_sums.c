/* Knows sums by key as C: how they are observed, cut, merged, measured. The twin of modules/metrics (cells, table, merge).
 *
 * A Cell is one key's sum while it is counted; a Counter is what a tap calls with each observation; Taps is what modules
 * call. Sums are rows that have been cut: a sequence whose memory slices share, each row made as a list when it is asked
 * for. What is not a whole number below 2^62 is Python's: there `of`, `read` and `merged` return None.
 */
#define PY_SSIZE_T_CLEAN
#include <Python.h>
#include <stdint.h>
#include <structmember.h>

#define MOST ((int64_t)1 << 62)

static PyTypeObject CellType, CounterType, TapsType, SumsType;
static PyObject *text_now, *one;

/* An int of exactly that type that 64 bits hold. */
static inline int is_whole(PyObject *it, int64_t *value)
{
    int overflow = 1;
    if (PyLong_CheckExact(it))
        *value = PyLong_AsLongLongAndOverflow(it, &overflow);
    return !overflow;
}

static inline int is_small(int64_t value)
{
    return -MOST < value && value < MOST;
}

/* ---- Cell: n, first and last time, the sum of the integers, the floats there were */

typedef struct {
    PyObject_HEAD
    long long n, begin, end;
    int64_t whole;
    PyObject *rest;   /* what `whole` could not hold any more; NULL nearly always */
    PyObject *floats; /* None or a list; who fills it is Python */
} Cell;

static int cell_set_whole(Cell *self, PyObject *value, void *Py_UNUSED(closure))
{
    int64_t whole;
    if (value == NULL || !PyLong_Check(value)) {
        PyErr_SetString(PyExc_TypeError, "a cell's whole is an int");
        return -1;
    }
    if (is_whole(value, &whole)) {
        self->whole = whole;
        Py_CLEAR(self->rest);
    } else {
        self->whole = 0;
        Py_XSETREF(self->rest, Py_NewRef(value));
    }
    return 0;
}

static PyObject *cell_get_whole(Cell *self, void *Py_UNUSED(closure))
{
    PyObject *whole = PyLong_FromLongLong(self->whole);
    if (whole == NULL || self->rest == NULL)
        return whole;
    PyObject *both = PyNumber_Add(self->rest, whole);
    Py_DECREF(whole);
    return both;
}

/* -1 with MemoryError, and then nothing is added. */
static inline int cell_add(Cell *self, int64_t value, int64_t now)
{
    int64_t sum;
    if (__builtin_add_overflow(self->whole, value, &sum)) {
        PyObject *before = cell_get_whole(self, NULL);
        if (before == NULL)
            return -1;
        Py_XSETREF(self->rest, before);
        sum = value;
    }
    self->whole = sum;
    self->n++;
    self->end = now;
    return 0;
}

/* A new one of `kind`, which is CellType or a class of Python's below it. */
static Cell *cell_of(PyTypeObject *kind, int64_t now, int64_t n, int64_t whole)
{
    Cell *self = (Cell *)kind->tp_alloc(kind, 0);
    if (self != NULL) {
        self->begin = self->end = now;
        self->n = n;
        self->whole = whole;
        self->floats = Py_NewRef(Py_None);
    }
    return self;
}

static PyObject *cell_new(PyTypeObject *kind, PyObject *args, PyObject *kwargs)
{
    static char *names[] = {"now", "n", "whole", NULL};
    long long now, n = 0;
    PyObject *whole = NULL;
    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "L|LO", names, &now, &n, &whole))
        return NULL;
    Cell *self = cell_of(kind, now, n, 0);
    if (self != NULL && whole != NULL && cell_set_whole(self, whole, NULL) < 0)
        Py_CLEAR(self);
    return (PyObject *)self;
}

static void cell_dealloc(Cell *self)
{
    Py_XDECREF(self->rest);
    Py_XDECREF(self->floats);
    Py_TYPE(self)->tp_free((PyObject *)self);
}

static PyMemberDef cell_members[] = {
    {"n", T_LONGLONG, offsetof(Cell, n), 0, NULL},
    {"begin", T_LONGLONG, offsetof(Cell, begin), 0, NULL},
    {"end", T_LONGLONG, offsetof(Cell, end), 0, NULL},
    {"floats", T_OBJECT_EX, offsetof(Cell, floats), 0, NULL},
    {NULL},
};
static PyGetSetDef cell_getset[] = {
    {"whole", (getter)cell_get_whole, (setter)cell_set_whole, "The sum of the integers.", NULL},
    {NULL},
};
static PyTypeObject CellType = {
    PyVarObject_HEAD_INIT(NULL, 0)
    .tp_name = "brokersim.native._sums.Cell",
    .tp_doc = "One key's sum while it is counted.",
    .tp_basicsize = sizeof(Cell),
    .tp_flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_BASETYPE,
    .tp_new = cell_new,
    .tp_dealloc = (destructor)cell_dealloc,
    .tp_members = cell_members,
    .tp_getset = cell_getset,
};

/* ---- Counter: called with a key and a value */

typedef struct {
    PyObject_HEAD
    vectorcallfunc call;
    PyObject *reactor, *by_given, *known, *cells, *slowly, *kind;
    Py_ssize_t most;
    char is_watched;
} Counter;

/* The loop's time. 0 with no error set where it is not a whole number: then Python shall do it. */
static inline int counter_now(Counter *self, int64_t *now)
{
    PyObject *found = PyObject_GetAttr(self->reactor, text_now);
    if (found == NULL) {
        PyErr_Clear();
        return 0;
    }
    int is_one = is_whole(found, now);
    Py_DECREF(found);
    return is_one;
}

/* The first of a key in its epoch: mostly one of the last epoch's comes again. 1 done, 0 Python shall do it, -1 an error. */
static int counter_begin(Counter *self, PyObject *key, int64_t value)
{
    PyObject *text = PyDict_GetItemWithError(self->known, key);
    if (text == NULL || PyDict_GET_SIZE(self->cells) >= self->most)
        return PyErr_Occurred() ? -1 : 0;
    int there = PyDict_Contains(self->cells, text);
    int64_t now;
    if (there)
        return there < 0 ? -1 : 0;
    Py_INCREF(text); /* what tells the time is somebody's code, and might clear `known` */
    if (!counter_now(self, &now)) {
        Py_DECREF(text);
        return 0;
    }
    Cell *cell = cell_of((PyTypeObject *)self->kind, now, 1, value);
    if (cell == NULL) {
        Py_DECREF(text);
        return -1;
    }
    int done = PyDict_SetItem(self->cells, text, (PyObject *)cell) < 0
               || PyDict_SetItem(self->by_given, key, (PyObject *)cell) < 0 ? -1 : 1;
    Py_DECREF(text);
    Py_DECREF(cell);
    return done;
}

/* 1 counted, 0 Python shall do it, -1 an error */
static inline int counter_count(Counter *self, PyObject *key, PyObject *given)
{
    int64_t value = 1, now;
    if (self->is_watched || !PyUnicode_CheckExact(key)
        || (given != NULL && !(is_whole(given, &value) && is_small(value))))
        return 0;
    PyObject *cell = PyDict_GetItemWithError(self->by_given, key);
    if (cell == NULL)
        return PyErr_Occurred() ? -1 : counter_begin(self, key, value);
    if (!PyObject_TypeCheck(cell, &CellType) || !counter_now(self, &now))
        return 0;
    return cell_add((Cell *)cell, value, now) < 0 ? -1 : 1;
}

static PyObject *counter_call(PyObject *it, PyObject *const *args, size_t flags, PyObject *names)
{
    Counter *self = (Counter *)it;
    Py_ssize_t count = PyVectorcall_NARGS(flags);
    int done = 0;
    if (names == NULL && (count == 1 || count == 2))
        done = counter_count(self, args[0], count == 2 ? args[1] : NULL);
    if (done < 0)
        return NULL;
    if (done > 0 || self->slowly == NULL) /* NULL: a circle that is being taken apart */
        Py_RETURN_NONE;
    return PyObject_Vectorcall(self->slowly, args, count, names);
}

static PyObject *counter_new(PyTypeObject *type, PyObject *args, PyObject *kwargs)
{
    static char *names[] = {"reactor", "by_given", "known", "cells", "slowly", "kind", "most", NULL};
    PyObject *reactor, *by_given, *known, *cells, *slowly, *kind;
    Py_ssize_t most;
    if (!PyArg_ParseTupleAndKeywords(
            args, kwargs, "OO!O!O!OO!n", names, &reactor, &PyDict_Type, &by_given, &PyDict_Type, &known, &PyDict_Type, &cells,
            &slowly, &PyType_Type, &kind, &most
        ))
        return NULL;
    if (!PyType_IsSubtype((PyTypeObject *)kind, &CellType))
        return PyErr_Format(PyExc_TypeError, "kind is a Cell, not %R", kind);
    Counter *self = (Counter *)type->tp_alloc(type, 0);
    if (self != NULL) {
        self->call = counter_call;
        self->reactor = Py_NewRef(reactor);
        self->by_given = Py_NewRef(by_given);
        self->known = Py_NewRef(known);
        self->cells = Py_NewRef(cells);
        self->slowly = Py_NewRef(slowly);
        self->kind = Py_NewRef(kind);
        self->most = most;
    }
    return (PyObject *)self;
}

static int counter_traverse(Counter *self, visitproc visit, void *arg)
{
    Py_VISIT(self->reactor);
    Py_VISIT(self->by_given);
    Py_VISIT(self->known);
    Py_VISIT(self->cells);
    Py_VISIT(self->slowly);
    Py_VISIT(self->kind);
    return 0;
}

/* A circle goes through its tap; all else stays, since others may still call it. */
static int counter_clear(Counter *self)
{
    Py_CLEAR(self->slowly);
    return 0;
}

static void counter_dealloc(Counter *self)
{
    PyObject_GC_UnTrack(self);
    counter_clear(self);
    Py_XDECREF(self->reactor);
    Py_XDECREF(self->by_given);
    Py_XDECREF(self->known);
    Py_XDECREF(self->cells);
    Py_XDECREF(self->kind);
    Py_TYPE(self)->tp_free((PyObject *)self);
}

static PyObject *counter_get_cells(Counter *self, void *Py_UNUSED(closure))
{
    return Py_NewRef(self->cells);
}

static int counter_set_cells(Counter *self, PyObject *cells, void *Py_UNUSED(closure))
{
    if (cells == NULL || !PyDict_CheckExact(cells)) {
        PyErr_SetString(PyExc_TypeError, "cells are a dict");
        return -1;
    }
    Py_SETREF(self->cells, Py_NewRef(cells));
    return 0;
}

static PyMemberDef counter_members[] = {
    {"is_watched", T_BOOL, offsetof(Counter, is_watched), 0, "Python is to see each observation."},
    {NULL},
};
static PyGetSetDef counter_getset[] = {
    {"cells", (getter)counter_get_cells, (setter)counter_set_cells, "Where new ones go.", NULL},
    {NULL},
};
static PyTypeObject CounterType = {
    PyVarObject_HEAD_INIT(NULL, 0)
    .tp_name = "brokersim.native._sums.Counter",
    .tp_doc = "What a tap of sums calls with each observation.",
    .tp_basicsize = sizeof(Counter),
    .tp_flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC | Py_TPFLAGS_HAVE_VECTORCALL,
    .tp_new = counter_new,
    .tp_dealloc = (destructor)counter_dealloc,
    .tp_traverse = (traverseproc)counter_traverse,
    .tp_clear = (inquiry)counter_clear,
    .tp_vectorcall_offset = offsetof(Counter, call),
    .tp_call = PyVectorcall_Call,
    .tp_members = counter_members,
    .tp_getset = counter_getset,
};

/* ---- Taps: called with a stream, a key and a value */

typedef struct {
    PyObject_HEAD
    vectorcallfunc call;
    PyObject *found; /* stream to what is called with key and value */
} Taps;

static PyObject *taps_tell(Taps *self, PyObject *const *args, Py_ssize_t count)
{
    PyObject *tap = PyDict_GetItemWithError(self->found, args[0]);
    if (tap == NULL) {
        if (PyErr_Occurred())
            return NULL;
        Py_RETURN_NONE;
    }
    if (Py_IS_TYPE(tap, &CounterType)) {
        int done = counter_count((Counter *)tap, args[1], count == 3 ? args[2] : NULL);
        if (done < 0)
            return NULL;
        if (done)
            Py_RETURN_NONE;
    }
    PyObject *told[] = {args[1], count == 3 ? args[2] : one};
    Py_INCREF(tap); /* whoever is told may change who listens */
    PyObject *back = PyObject_Vectorcall(tap, told, 2, NULL);
    Py_DECREF(tap);
    if (back == NULL)
        return NULL;
    Py_DECREF(back);
    Py_RETURN_NONE;
}

/* stream, key and value by name or by place into `args`; how many, -1 with TypeError. */
static Py_ssize_t taps_arguments(PyObject *const *args, Py_ssize_t count, PyObject *names, PyObject **into)
{
    static const char *const known[] = {"stream", "key", "value"};
    Py_ssize_t named = names == NULL ? 0 : PyTuple_GET_SIZE(names);
    into[0] = into[1] = NULL;
    into[2] = one;
    for (Py_ssize_t at = 0; at < count && at < 3; at++)
        into[at] = args[at];
    for (Py_ssize_t at = 0; at < named; at++) {
        PyObject *name = PyTuple_GET_ITEM(names, at);
        Py_ssize_t place = 0;
        while (place < 3 && PyUnicode_CompareWithASCIIString(name, known[place]) != 0)
            place++;
        if (place == 3 || place < count) {
            PyErr_Format(PyExc_TypeError, "observe() got an unexpected or a second argument '%U'", name);
            return -1;
        }
        into[place] = args[count + at];
    }
    if (count > 3 || into[0] == NULL || into[1] == NULL) {
        PyErr_SetString(PyExc_TypeError, "observe() takes a stream, a key and perhaps a value");
        return -1;
    }
    return 3;
}

static PyObject *taps_call(PyObject *it, PyObject *const *args, size_t flags, PyObject *names)
{
    Py_ssize_t count = PyVectorcall_NARGS(flags);
    PyObject *into[3];
    if (names != NULL || count < 2 || count > 3) {
        if ((count = taps_arguments(args, count, names, into)) < 0)
            return NULL;
        args = into;
    }
    return taps_tell((Taps *)it, args, count);
}

static PyObject *taps_new(PyTypeObject *type, PyObject *args, PyObject *kwargs)
{
    PyObject *found;
    if ((kwargs != NULL && PyDict_GET_SIZE(kwargs) != 0) || !PyArg_ParseTuple(args, "O!", &PyDict_Type, &found)) {
        if (!PyErr_Occurred())
            PyErr_SetString(PyExc_TypeError, "Taps takes one dict");
        return NULL;
    }
    Taps *self = (Taps *)type->tp_alloc(type, 0);
    if (self != NULL) {
        self->call = taps_call;
        self->found = Py_NewRef(found);
    }
    return (PyObject *)self;
}

static int taps_traverse(Taps *self, visitproc visit, void *arg)
{
    Py_VISIT(self->found);
    return 0;
}

static void taps_dealloc(Taps *self) /* no tp_clear: what circles go through is its dict, which has one */
{
    PyObject_GC_UnTrack(self);
    Py_XDECREF(self->found);
    Py_TYPE(self)->tp_free((PyObject *)self);
}

static PyTypeObject TapsType = {
    PyVarObject_HEAD_INIT(NULL, 0)
    .tp_name = "brokersim.native._sums.Taps",
    .tp_doc = "What a handle's observe is while somebody listens.",
    .tp_basicsize = sizeof(Taps),
    .tp_flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC | Py_TPFLAGS_HAVE_VECTORCALL,
    .tp_new = taps_new,
    .tp_dealloc = (destructor)taps_dealloc,
    .tp_traverse = (traverseproc)taps_traverse,
    .tp_vectorcall_offset = offsetof(Taps, call),
    .tp_call = PyVectorcall_Call,
};

static PyObject *unobserved(PyObject *Py_UNUSED(module), PyObject *const *args, Py_ssize_t count, PyObject *names)
{
    PyObject *into[3];
    if ((names != NULL || count < 2 || count > 3) && taps_arguments(args, count, names, into) < 0)
        return NULL;
    Py_RETURN_NONE;
}

/* ---- Sums: rows, ascending by key */

typedef struct {
    int64_t n, begin, end, whole;
} Line;

typedef struct Sums {
    PyObject_HEAD
    struct Sums *owner; /* whose memory it is; NULL: its own */
    PyObject *keys;     /* the owner's list of texts, at least of as many as there are lines */
    Line *lines;        /* the owner's first */
    Py_ssize_t start, count;
} Sums;

#define KEY(sums, at) PyList_GET_ITEM((sums)->keys, (sums)->start + (at))
#define LINE(sums, at) ((sums)->lines + (sums)->start + (at))

/* Room for so many, of which none counts yet. Takes the reference of `keys`, NULL too. */
static Sums *sums_with(PyObject *keys, Py_ssize_t room)
{
    Sums *self = keys == NULL ? NULL : (Sums *)SumsType.tp_alloc(&SumsType, 0);
    if (self == NULL) {
        Py_XDECREF(keys);
        return NULL;
    }
    self->keys = keys;
    self->lines = PyMem_Malloc((room ? room : 1) * sizeof(Line));
    if (self->lines == NULL) {
        Py_DECREF(self);
        return (Sums *)PyErr_NoMemory();
    }
    return self;
}

static void sums_dealloc(Sums *self)
{
    if (self->owner == NULL)
        PyMem_Free(self->lines);
    Py_XDECREF(self->owner);
    Py_XDECREF(self->keys);
    Py_TYPE(self)->tp_free((PyObject *)self);
}

static Sums *sums_part(Sums *of, Py_ssize_t start, Py_ssize_t count)
{
    Sums *self = (Sums *)SumsType.tp_alloc(&SumsType, 0);
    if (self != NULL) {
        self->owner = (Sums *)Py_NewRef(of->owner == NULL ? (PyObject *)of : (PyObject *)of->owner);
        self->keys = Py_NewRef(of->keys);
        self->lines = of->lines;
        self->start = of->start + start;
        self->count = count;
    }
    return self;
}

static Py_ssize_t sums_length(Sums *self)
{
    return self->count;
}

static PyObject *sums_item(Sums *self, Py_ssize_t at)
{
    if (at < 0 || at >= self->count) {
        PyErr_SetString(PyExc_IndexError, "no such row"); /* each loop over rows ends with one: it is not formatted */
        return NULL;
    }
    const Line *line = LINE(self, at);
    return Py_BuildValue("[O[[LLL[L]]]]", KEY(self, at), (long long)line->n, (long long)line->begin, (long long)line->end,
                         (long long)line->whole);
}

static PyObject *sums_list(Sums *self)
{
    PyObject *list = PyList_New(self->count);
    for (Py_ssize_t at = 0; list != NULL && at < self->count; at++) {
        PyObject *row = sums_item(self, at);
        if (row == NULL)
            Py_CLEAR(list);
        else
            PyList_SET_ITEM(list, at, row);
    }
    return list;
}

static PyObject *sums_subscript(Sums *self, PyObject *at)
{
    if (!PySlice_Check(at)) {
        Py_ssize_t index = PyNumber_AsSsize_t(at, PyExc_IndexError);
        if (index == -1 && PyErr_Occurred())
            return NULL;
        return sums_item(self, index < 0 ? index + self->count : index);
    }
    Py_ssize_t start, stop, step;
    if (PySlice_Unpack(at, &start, &stop, &step) < 0)
        return NULL;
    Py_ssize_t count = PySlice_AdjustIndices(self->count, &start, &stop, step);
    if (step != 1) {
        PyErr_SetString(PyExc_ValueError, "rows are cut into pieces, not picked");
        return NULL;
    }
    return (PyObject *)sums_part(self, start, count);
}

/* One behind the other; without a copy where they were one before. */
static PyObject *sums_concat(PyObject *left, PyObject *right)
{
    if (!Py_IS_TYPE(left, &SumsType) || !Py_IS_TYPE(right, &SumsType))
        Py_RETURN_NOTIMPLEMENTED;
    Sums *a = (Sums *)left, *b = (Sums *)right;
    if (a->lines == b->lines && a->start + a->count == b->start)
        return (PyObject *)sums_part(a, 0, a->count + b->count);
    Sums *self = sums_with(PyList_New(a->count + b->count), a->count + b->count);
    if (self == NULL)
        return NULL;
    for (Py_ssize_t at = 0; at < a->count + b->count; at++) {
        Sums *of = at < a->count ? a : b;
        Py_ssize_t in = at < a->count ? at : at - a->count;
        PyList_SET_ITEM(self->keys, at, Py_NewRef(KEY(of, in)));
        self->lines[at] = *LINE(of, in);
    }
    self->count = a->count + b->count;
    return (PyObject *)self;
}

static PyObject *sums_compare(PyObject *self, PyObject *other, int how)
{
    if ((how != Py_EQ && how != Py_NE) || !(PyList_Check(other) || Py_IS_TYPE(other, &SumsType)))
        Py_RETURN_NOTIMPLEMENTED;
    PyObject *a = sums_list((Sums *)self);
    PyObject *b = Py_IS_TYPE(other, &SumsType) ? sums_list((Sums *)other) : Py_NewRef(other);
    PyObject *told = a == NULL || b == NULL ? NULL : PyObject_RichCompare(a, b, how);
    Py_XDECREF(a);
    Py_XDECREF(b);
    return told;
}

static PyObject *sums_repr(Sums *self)
{
    PyObject *list = sums_list(self);
    PyObject *text = list == NULL ? NULL : PyObject_Repr(list);
    Py_XDECREF(list);
    return text;
}

static PyObject *sums_get_keys(Sums *self, void *Py_UNUSED(closure))
{
    if (self->start == 0 && self->count == PyList_GET_SIZE(self->keys))
        return Py_NewRef(self->keys);
    return PyList_GetSlice(self->keys, self->start, self->start + self->count);
}

static PyObject *sums_get_observed(Sums *self, void *Py_UNUSED(closure))
{
    PyObject *sum = PyLong_FromLong(0);
    int64_t part = 0;
    for (Py_ssize_t at = 0; sum != NULL && at <= self->count; at++) {
        int64_t more = at < self->count ? LINE(self, at)->n : 0, both;
        if (at < self->count && !__builtin_add_overflow(part, more, &both)) {
            part = both;
            continue;
        }
        PyObject *held = PyLong_FromLongLong(part), *before = sum; /* full, or the last */
        sum = held == NULL ? NULL : PyNumber_Add(before, held);
        Py_DECREF(before);
        Py_XDECREF(held);
        part = more;
    }
    return sum;
}

/* Bytes of a text in JSON, quotes included, as msgspec writes it: UTF-8, short escapes where there are any. */
static Py_ssize_t text_size(PyObject *text)
{
    Py_ssize_t size = 2, count = PyUnicode_GET_LENGTH(text);
    int kind = PyUnicode_KIND(text);
    const void *data = PyUnicode_DATA(text);
    for (Py_ssize_t at = 0; at < count; at++) {
        Py_UCS4 c = PyUnicode_READ(kind, data, at);
        if (c >= 0x80)
            size += c < 0x800 ? 2 : c < 0x10000 ? 3 : 4;
        else if (c == '"' || c == '\\' || c == '\n' || c == '\r' || c == '\t' || c == '\b' || c == '\f')
            size += 2;
        else
            size += c < 0x20 ? 6 : 1;
    }
    return size;
}

static inline int digits(int64_t value)
{
    int count = value < 0 ? 2 : 1;
    uint64_t left = value < 0 ? 0 - (uint64_t)value : (uint64_t)value;
    while (left >= 10000) {
        left /= 10000;
        count += 4;
    }
    return count + (left >= 10) + (left >= 100) + (left >= 1000);
}

static Py_ssize_t row_size(const Sums *self, Py_ssize_t at)
{
    const Line *line = LINE(self, at);
    /* 12: ["key",[[n,begin,end,[whole]]]] without what has names there */
    return 12 + text_size(KEY(self, at)) + digits(line->n) + digits(line->begin) + digits(line->end) + digits(line->whole);
}

/* How many of the first rows fit into so many bytes as a JSON list, at least one, and the bytes; as Python counts them,
 * which is one more where not all fit. */
static PyObject *sums_fit(Sums *self, PyObject *most_told)
{
    Py_ssize_t most = PyNumber_AsSsize_t(most_told, PyExc_OverflowError), size = 2, at = 0;
    if (most == -1 && PyErr_Occurred())
        return NULL;
    for (; at < self->count; at++) {
        Py_ssize_t more = row_size(self, at) + 1;
        /* The last needs no comma. */
        if (size + more - (at == self->count - 1) > most && at)
            break;
        size += more;
    }
    if (at == self->count && at && size - 1 <= most)
        size--;
    return Py_BuildValue("nn", at, size);
}

/* The rows of cells, in the order of `keys`; None if one of them is more than a whole number. */
static PyObject *sums_of(PyObject *Py_UNUSED(type), PyObject *args)
{
    PyObject *keys, *cells;
    long long epoch;
    if (!PyArg_ParseTuple(args, "O!O!L", &PyList_Type, &keys, &PyDict_Type, &cells, &epoch))
        return NULL;
    Sums *self = sums_with(Py_NewRef(keys), PyList_GET_SIZE(keys));
    if (self == NULL)
        return NULL;
    for (Py_ssize_t at = 0; at < PyList_GET_SIZE(keys); at++) {
        PyObject *key = PyList_GET_ITEM(keys, at);
        Cell *cell = PyUnicode_CheckExact(key) ? (Cell *)PyDict_GetItemWithError(cells, key) : NULL;
        if (cell == NULL) {
            Py_DECREF(self);
            if (!PyErr_Occurred())
                PyErr_SetObject(PyExc_KeyError, key);
            return NULL;
        }
        Line *line = self->lines + at;
        if (!PyObject_TypeCheck(cell, &CellType) || cell->floats != Py_None || cell->rest != NULL
            || !is_small(cell->whole) || __builtin_add_overflow(epoch, cell->begin, &line->begin)
            || __builtin_add_overflow(epoch, cell->end, &line->end)) {
            Py_DECREF(self);
            Py_RETURN_NONE;
        }
        line->n = cell->n;
        line->whole = cell->whole;
        self->count++;
    }
    return (PyObject *)self;
}

/* A list of exactly so many. Borrowed items. */
static inline int is_list(PyObject *it, Py_ssize_t count)
{
    return PyList_CheckExact(it) && PyList_GET_SIZE(it) == count;
}

static int line_read(PyObject *row, Line *line)
{
    if (!is_list(row, 2) || !PyUnicode_CheckExact(PyList_GET_ITEM(row, 0)) || !is_list(PyList_GET_ITEM(row, 1), 1))
        return 0;
    PyObject *cell = PyList_GET_ITEM(PyList_GET_ITEM(row, 1), 0);
    return is_list(cell, 4) && is_list(PyList_GET_ITEM(cell, 3), 1) && is_whole(PyList_GET_ITEM(cell, 0), &line->n)
           && is_whole(PyList_GET_ITEM(cell, 1), &line->begin) && is_whole(PyList_GET_ITEM(cell, 2), &line->end)
           && is_whole(PyList_GET_ITEM(PyList_GET_ITEM(cell, 3), 0), &line->whole) && is_small(line->whole);
}

/* Rows that came as JSON; None if they are none of these, or do not ascend. */
static PyObject *sums_read(PyObject *Py_UNUSED(type), PyObject *rows)
{
    if (!PyList_CheckExact(rows))
        Py_RETURN_NONE;
    Py_ssize_t count = PyList_GET_SIZE(rows);
    Sums *self = sums_with(PyList_New(count), count);
    for (Py_ssize_t at = 0; self != NULL && at < count; at++) {
        PyObject *row = PyList_GET_ITEM(rows, at);
        int is_one = line_read(row, self->lines + at);
        PyObject *key = is_one ? PyList_GET_ITEM(row, 0) : NULL;
        if (is_one && at && PyUnicode_Compare(PyList_GET_ITEM(self->keys, at - 1), key) >= 0)
            is_one = 0;
        if (!is_one) {
            Py_DECREF(self);
            Py_RETURN_NONE;
        }
        PyList_SET_ITEM(self->keys, at, Py_NewRef(key));
        self->count++;
    }
    return (PyObject *)self;
}

/* -- merging: a heap of sources by the key each is at */

typedef struct {
    Sums *rows;
    Py_ssize_t at;
} Source;

#define AT(source) KEY((source).rows, (source).at)

static inline int is_before(PyObject *a, PyObject *b)
{
    return a != b && PyUnicode_Compare(a, b) < 0;
}

static void sift(Source *heap, Py_ssize_t count, Py_ssize_t at)
{
    for (Py_ssize_t below; (below = 2 * at + 1) < count; at = below) {
        if (below + 1 < count && is_before(AT(heap[below + 1]), AT(heap[below])))
            below++;
        if (!is_before(AT(heap[below]), AT(heap[at])))
            return;
        Source moved = heap[at];
        heap[at] = heap[below];
        heap[below] = moved;
    }
}

/* 0 if a number becomes too large for this. */
static inline int line_add(Line *into, const Line *more)
{
    if (more->begin < into->begin)
        into->begin = more->begin;
    if (more->end > into->end)
        into->end = more->end;
    return !__builtin_add_overflow(into->n, more->n, &into->n)
           && !__builtin_add_overflow(into->whole, more->whole, &into->whole) && is_small(into->whole);
}

static inline int is_same(PyObject *a, PyObject *b)
{
    return a == b || PyUnicode_Compare(a, b) == 0;
}

/* What ranks count alike comes in step: so many rows from the front have the same keys in all. They are added up.
 * -1 if a number becomes too large. */
static Py_ssize_t merge_in_step(Sums *into, Source *sources, Py_ssize_t count)
{
    for (Py_ssize_t at = 0;; at++) {
        for (Py_ssize_t n = 0; n < count; n++)
            if (at >= sources[n].rows->count || !is_same(KEY(sources[0].rows, at), KEY(sources[n].rows, at)))
                return at;
        Line *line = into->lines + at;
        *line = *LINE(sources[0].rows, at);
        for (Py_ssize_t n = 1; n < count; n++)
            if (!line_add(line, LINE(sources[n].rows, at)))
                return -1;
        if (PyList_Append(into->keys, KEY(sources[0].rows, at)) < 0)
            return -1;
        into->count++;
    }
}

/* The rest, key by key. 0 if a number becomes too large, or with an error set. */
static int merge_mixed(Sums *into, Source *heap, Py_ssize_t count)
{
    for (Py_ssize_t at = count / 2; at-- > 0;)
        sift(heap, count, at);
    while (count) {
        PyObject *key = AT(heap[0]);
        Line *line = into->lines + into->count;
        if (PyList_Append(into->keys, key) < 0)
            return 0;
        for (int is_first = 1; count && (is_first || is_same(key, AT(heap[0]))); is_first = 0) {
            const Line *more = LINE(heap[0].rows, heap[0].at);
            if (is_first)
                *line = *more;
            else if (!line_add(line, more))
                return 0;
            if (++heap[0].at == heap[0].rows->count)
                heap[0] = heap[--count];
            sift(heap, count, 0);
        }
        into->count++;
    }
    return 1;
}

static PyObject *sums_merged(PyObject *Py_UNUSED(type), PyObject *parts)
{
    if (!PyList_CheckExact(parts))
        return PyErr_Format(PyExc_TypeError, "merged takes a list of Sums, not %R", Py_TYPE(parts));
    Py_ssize_t count = PyList_GET_SIZE(parts), room = 0;
    for (Py_ssize_t at = 0; at < count; at++) {
        PyObject *part = PyList_GET_ITEM(parts, at);
        if (!Py_IS_TYPE(part, &SumsType))
            return PyErr_Format(PyExc_TypeError, "merged takes a list of Sums, not one with %R in it", Py_TYPE(part));
        room += ((Sums *)part)->count;
    }
    Source *sources = PyMem_New(Source, count ? count : 1);
    Sums *self = sources == NULL ? (Sums *)PyErr_NoMemory() : sums_with(PyList_New(0), room);
    int is_whole = self != NULL;
    if (is_whole) {
        for (Py_ssize_t at = 0; at < count; at++)
            sources[at] = (Source){(Sums *)PyList_GET_ITEM(parts, at), 0};
        Py_ssize_t in_step = count ? merge_in_step(self, sources, count) : 0, left = 0;
        is_whole = in_step >= 0;
        for (Py_ssize_t at = 0; is_whole && at < count; at++)
            if (sources[at].rows->count > in_step)
                sources[left++] = (Source){sources[at].rows, in_step};
        is_whole = is_whole && merge_mixed(self, sources, left);
    }
    PyMem_Free(sources);
    if (is_whole) {
        Line *lines = PyMem_Realloc(self->lines, (self->count ? self->count : 1) * sizeof(Line));
        self->lines = lines == NULL ? self->lines : lines; /* it may live for long */
        return (PyObject *)self;
    }
    Py_XDECREF(self);
    if (PyErr_Occurred())
        return NULL;
    Py_RETURN_NONE;
}

static PySequenceMethods sums_as_sequence = {
    .sq_length = (lenfunc)sums_length,
    .sq_item = (ssizeargfunc)sums_item,
};
static PyMappingMethods sums_as_mapping = {
    .mp_length = (lenfunc)sums_length,
    .mp_subscript = (binaryfunc)sums_subscript,
};
static PyNumberMethods sums_as_number = {.nb_add = sums_concat};
static PyMethodDef sums_methods[] = {
    {"of", sums_of, METH_VARARGS | METH_STATIC, "of(keys, cells, epoch, /)\n--\n\nThe rows of cells, in the order of keys."},
    {"read", sums_read, METH_O | METH_STATIC, "read(rows, /)\n--\n\nRows that came as JSON; None if they are none of these."},
    {"merged", sums_merged, METH_O | METH_STATIC, "merged(parts, /)\n--\n\nEach key once; None if a number is too large."},
    {"fit", (PyCFunction)sums_fit, METH_O, "fit($self, most, /)\n--\n\nHow many of the first rows fit, and their bytes."},
    {"__json__", (PyCFunction)sums_list, METH_NOARGS, "__json__($self, /)\n--\n\nThe rows as lists."},
    {NULL},
};
static PyGetSetDef sums_getset[] = {
    {"keys", (getter)sums_get_keys, NULL, "The keys of the rows; not to be changed.", NULL},
    {"observed", (getter)sums_get_observed, NULL, "How many observations are in the rows.", NULL},
    {NULL},
};
static PyTypeObject SumsType = {
    PyVarObject_HEAD_INIT(NULL, 0)
    .tp_name = "brokersim.native._sums.Sums",
    .tp_doc = "Rows of sums, ascending by key.",
    .tp_basicsize = sizeof(Sums),
    .tp_flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_DISALLOW_INSTANTIATION | Py_TPFLAGS_SEQUENCE,
    .tp_dealloc = (destructor)sums_dealloc,
    .tp_repr = (reprfunc)sums_repr,
    .tp_richcompare = sums_compare,
    .tp_hash = PyObject_HashNotImplemented,
    .tp_as_sequence = &sums_as_sequence,
    .tp_as_mapping = &sums_as_mapping,
    .tp_as_number = &sums_as_number,
    .tp_methods = sums_methods,
    .tp_getset = sums_getset,
};

static PyMethodDef functions[] = {
    {"unobserved", (PyCFunction)(void (*)(void))unobserved, METH_FASTCALL | METH_KEYWORDS,
     "unobserved(stream, key, value=1)\n--\n\nWhat observe is while nobody listens on this rank."},
    {NULL},
};

static struct PyModuleDef definition = {
    PyModuleDef_HEAD_INIT, "brokersim.native._sums", "Sums by key.", -1, functions,
};

PyMODINIT_FUNC PyInit__sums(void)
{
    static PyTypeObject *const types[] = {&CellType, &CounterType, &TapsType, &SumsType};
    static const char *const names[] = {"Cell", "Counter", "Taps", "Sums"};
    if ((text_now = PyUnicode_InternFromString("now")) == NULL || (one = PyLong_FromLong(1)) == NULL)
        return NULL;
    PyObject *module = PyModule_Create(&definition);
    for (size_t at = 0; module != NULL && at < sizeof types / sizeof *types; at++)
        if (PyType_Ready(types[at]) < 0 || PyModule_AddObjectRef(module, names[at], (PyObject *)types[at]) < 0)
            Py_CLEAR(module);
    return module;
}
