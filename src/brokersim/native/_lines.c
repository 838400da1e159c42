/* Knows plain statsd lines of names seen before, and what they add up to, as C: the twin of brokersim/statsd/tables.py.
 *
 * Numbers and Samples are ordered tables by key, as Python's dicts are; Reader takes lines into three of them. What is not
 * `name:digits|type` of a known name is given to Python, line by line and in its turn, so every line is judged in one place.
 */
#include "keys.h"

#include <structmember.h>

#define MOST_EXACT ((int64_t)1 << 53)

enum { DEAD, WHOLE, REAL, OTHER }; /* int64, double, a reference */

typedef union {
    int64_t whole;
    double real;
    PyObject *other;
} Value;

/* ---- Numbers: key to number, or to a string or None; nothing that could be part of a cycle */

typedef struct {
    PyObject_HEAD
    Keys *keys;
    uint32_t n, live, room;
    Value *values;
    uint8_t *tags;
} Numbers;

static PyTypeObject NumbersType, SamplesType, ReaderType;

static void numbers_dealloc(Numbers *self)
{
    for (uint32_t row = 0; row < self->n; row++)
        if (self->tags[row] == OTHER)
            Py_DECREF(self->values[row].other);
    PyMem_Free(self->values);
    PyMem_Free(self->tags);
    keys_drop(self->keys);
    Py_TYPE(self)->tp_free((PyObject *)self);
}

static Numbers *numbers_with(Keys *keys) /* takes over the reference; NULL too */
{
    Numbers *self = keys == NULL ? NULL : (Numbers *)NumbersType.tp_alloc(&NumbersType, 0);
    if (self == NULL)
        keys_drop(keys);
    else
        self->keys = keys;
    return self;
}

static PyObject *numbers_new(PyTypeObject *type, PyObject *args, PyObject *kwargs)
{
    if (!PyArg_ParseTuple(args, "") || (kwargs != NULL && PyDict_GET_SIZE(kwargs) != 0))
        return NULL;
    return (PyObject *)numbers_with(keys_new(0));
}

static int numbers_grow(Numbers *self, uint32_t wanted)
{
    if (wanted <= self->room)
        return 0;
    size_t room = self->room, more = room + room / 8 + 8;
    if (more < wanted)
        more = wanted;
    Value *values = PyMem_Realloc(self->values, more * sizeof(Value));
    if (values != NULL)
        self->values = values;
    uint8_t *tags = PyMem_Realloc(self->tags, more);
    if (tags != NULL)
        self->tags = tags;
    if (values == NULL || tags == NULL) {
        PyErr_NoMemory();
        return -1;
    }
    self->room = (uint32_t)more;
    return 0;
}

/* Keys of its own, in which only what is alive is left, in its order. */
static int numbers_clone(Numbers *self)
{
    Keys *keys = keys_new(self->live);
    if (keys == NULL)
        return -1;
    uint32_t n = 0;
    for (uint32_t row = 0; row < self->n; row++) {
        if (self->tags[row] == DEAD)
            continue;
        const Row *key = &self->keys->rows[row];
        if (keys_add(keys, self->keys->arena + key->start, SIZE_OF(key), key->hash) == NO_ROW) {
            keys_drop(keys);
            return -1;
        }
        n++;
    }
    n = 0;
    for (uint32_t row = 0; row < self->n; row++) {
        if (self->tags[row] == DEAD)
            continue;
        self->values[n] = self->values[row];
        self->tags[n++] = self->tags[row];
    }
    self->n = n;
    keys_drop(self->keys);
    self->keys = keys;
    return 0;
}

static inline uint32_t numbers_find(const Numbers *self, const char *p, size_t size, uint64_t hash)
{
    uint32_t row = keys_find(self->keys, p, size, hash);
    return row < self->n && self->tags[row] != DEAD ? row : NO_ROW;
}

/* The row of a key that is not there, with the value 0. */
static uint32_t numbers_add(Numbers *self, const char *p, size_t size, uint64_t hash)
{
    /* The key may be known to a table that shares the keys, or have been deleted here: its new place is at the end. */
    const int is_whole = self->n == self->keys->n && self->live == self->n;
    if (!is_whole && (self->n != self->keys->n || keys_find(self->keys, p, size, hash) != NO_ROW))
        if (numbers_clone(self) < 0)
            return NO_ROW;
    if (numbers_grow(self, self->n + 1) < 0)
        return NO_ROW;
    uint32_t row = keys_add(self->keys, p, size, hash);
    if (row == NO_ROW)
        return NO_ROW;
    self->n = row + 1;
    self->live++;
    self->tags[row] = WHOLE;
    self->values[row].whole = 0;
    return row;
}

static PyObject *numbers_value(const Numbers *self, uint32_t row)
{
    const Value *value = &self->values[row];
    switch (self->tags[row]) {
    case WHOLE:
        return PyLong_FromLongLong(value->whole);
    case REAL:
        return PyFloat_FromDouble(value->real);
    default:
        return Py_NewRef(value->other);
    }
}

static int bytes_of(PyObject *key, char **p, Py_ssize_t *size)
{
    if (!PyBytes_Check(key)) {
        PyErr_Format(PyExc_TypeError, "a key is bytes, not %.100s", Py_TYPE(key)->tp_name);
        return -1;
    }
    return PyBytes_AsStringAndSize(key, p, size);
}

static uint32_t numbers_row(const Numbers *self, PyObject *key) /* NO_ROW: not there, or with an exception */
{
    char *p;
    Py_ssize_t size;
    if (bytes_of(key, &p, &size) < 0)
        return NO_ROW;
    return numbers_find(self, p, (size_t)size, hash_of(p, (size_t)size));
}

static void numbers_kill(Numbers *self, uint32_t row)
{
    if (self->tags[row] == OTHER)
        Py_DECREF(self->values[row].other);
    self->tags[row] = DEAD;
    self->live--;
}

static int numbers_put(Numbers *self, uint32_t row, PyObject *value)
{
    Value new;
    uint8_t tag = OTHER;
    if (PyFloat_CheckExact(value)) {
        tag = REAL;
        new.real = PyFloat_AS_DOUBLE(value);
    } else if (PyLong_CheckExact(value)) {
        int overflow;
        new.whole = PyLong_AsLongLongAndOverflow(value, &overflow);
        tag = overflow ? OTHER : WHOLE;
    } else if (!PyUnicode_CheckExact(value) && value != Py_None) {
        PyErr_Format(PyExc_TypeError, "a value is an int or a float, not %.100s", Py_TYPE(value)->tp_name);
        return -1;
    }
    if (tag == OTHER)
        new.other = Py_NewRef(value);
    if (self->tags[row] == OTHER)
        Py_DECREF(self->values[row].other);
    self->values[row] = new;
    self->tags[row] = tag;
    return 0;
}

static int numbers_assign(Numbers *self, PyObject *key, PyObject *value)
{
    char *p;
    Py_ssize_t size;
    if (bytes_of(key, &p, &size) < 0)
        return -1;
    uint64_t hash = hash_of(p, (size_t)size);
    uint32_t row = numbers_find(self, p, (size_t)size, hash);
    if (value == NULL) {
        if (row == NO_ROW) {
            PyErr_SetObject(PyExc_KeyError, key);
            return -1;
        }
        numbers_kill(self, row);
        uint32_t dead = self->n - self->live;
        return dead > 1000 && dead > self->live ? numbers_clone(self) : 0;
    }
    int is_new = row == NO_ROW;
    if (is_new && (row = numbers_add(self, p, (size_t)size, hash)) == NO_ROW)
        return -1;
    if (numbers_put(self, row, value) < 0) {
        if (is_new)
            numbers_kill(self, row);
        return -1;
    }
    return 0;
}

static PyObject *numbers_subscript(Numbers *self, PyObject *key)
{
    uint32_t row = numbers_row(self, key);
    if (row != NO_ROW)
        return numbers_value(self, row);
    if (!PyErr_Occurred())
        PyErr_SetObject(PyExc_KeyError, key);
    return NULL;
}

static int numbers_contains(Numbers *self, PyObject *key)
{
    uint32_t row = numbers_row(self, key);
    return row != NO_ROW ? 1 : PyErr_Occurred() ? -1 : 0;
}

static Py_ssize_t numbers_length(Numbers *self) { return self->live; }

static PyObject *numbers_get(Numbers *self, PyObject *args)
{
    PyObject *key, *other = Py_None;
    if (!PyArg_ParseTuple(args, "O|O:get", &key, &other))
        return NULL;
    uint32_t row = numbers_row(self, key);
    if (row != NO_ROW)
        return numbers_value(self, row);
    return PyErr_Occurred() ? NULL : Py_NewRef(other);
}

static PyObject *numbers_pop(Numbers *self, PyObject *args)
{
    PyObject *key, *other = NULL;
    if (!PyArg_ParseTuple(args, "O|O:pop", &key, &other))
        return NULL;
    uint32_t row = numbers_row(self, key);
    if (row == NO_ROW) {
        if (!PyErr_Occurred() && other == NULL)
            PyErr_SetObject(PyExc_KeyError, key);
        return PyErr_Occurred() ? NULL : Py_NewRef(other);
    }
    PyObject *value = numbers_value(self, row);
    if (value != NULL && numbers_assign(self, key, NULL) < 0)
        Py_CLEAR(value);
    return value;
}

static PyObject *numbers_setdefault(Numbers *self, PyObject *args)
{
    PyObject *key, *value;
    if (!PyArg_ParseTuple(args, "OO:setdefault", &key, &value))
        return NULL;
    uint32_t row = numbers_row(self, key);
    if (row != NO_ROW)
        return numbers_value(self, row);
    if (PyErr_Occurred() || numbers_assign(self, key, value) < 0)
        return NULL;
    return Py_NewRef(value);
}

enum { KEYS = 1, VALUES = 2 };

static PyObject *numbers_listed(const Numbers *self, int what)
{
    PyObject *list = PyList_New(0);
    for (uint32_t row = 0; list != NULL && row < self->n; row++) {
        if (self->tags[row] == DEAD)
            continue;
        PyObject *key = what & KEYS ? key_bytes(self->keys, row) : NULL;
        PyObject *value = what & VALUES ? numbers_value(self, row) : NULL;
        PyObject *item = what & KEYS && what & VALUES ? NULL : key != NULL ? key : value;
        if (what & KEYS && what & VALUES && key != NULL && value != NULL)
            item = PyTuple_Pack(2, key, value);
        if (what & KEYS && what & VALUES) {
            Py_XDECREF(key);
            Py_XDECREF(value);
        }
        if (item == NULL || PyList_Append(list, item) < 0)
            Py_CLEAR(list);
        Py_XDECREF(item);
    }
    return list;
}

static PyObject *numbers_keys(Numbers *self, PyObject *unused) { return numbers_listed(self, KEYS); }
static PyObject *numbers_values(Numbers *self, PyObject *unused) { return numbers_listed(self, VALUES); }
static PyObject *numbers_items(Numbers *self, PyObject *unused) { return numbers_listed(self, KEYS | VALUES); }

static PyObject *numbers_iter(Numbers *self)
{
    PyObject *list = numbers_listed(self, KEYS);
    PyObject *iterator = list == NULL ? NULL : PyObject_GetIter(list);
    Py_XDECREF(list);
    return iterator;
}

static Numbers *numbers_alike(Numbers *self) /* the same keys, values not set yet: all are dead */
{
    self->keys->users++;
    Numbers *other = numbers_with(self->keys);
    if (other == NULL || numbers_grow(other, self->n) < 0) {
        Py_XDECREF(other);
        return NULL;
    }
    if (self->n) /* an empty table has no memory yet */
        memset(other->tags, DEAD, self->n);
    other->n = self->n;
    return other;
}

static PyObject *numbers_copy(Numbers *self, PyObject *unused)
{
    Numbers *other = numbers_alike(self);
    if (other == NULL)
        return NULL;
    for (uint32_t row = 0; row < self->n; row++) {
        other->tags[row] = self->tags[row];
        other->values[row] = self->values[row];
        if (self->tags[row] == OTHER)
            Py_INCREF(self->values[row].other);
    }
    other->live = self->live;
    return (PyObject *)other;
}

static PyObject *numbers_zeroed(Numbers *self, PyObject *unused)
{
    Numbers *other = numbers_alike(self);
    if (other == NULL)
        return NULL;
    for (uint32_t row = 0; row < self->n; row++)
        if (self->tags[row] != DEAD) {
            other->tags[row] = WHOLE;
            other->values[row].whole = 0;
        }
    other->live = self->live;
    return (PyObject *)other;
}

/* 1: added; 0: Python has to. */
static inline int added(Numbers *self, uint32_t row, int is_real, int64_t whole, double real)
{
    Value *value = &self->values[row];
    if (self->tags[row] == WHOLE) {
        if (!is_real) {
            int64_t sum; /* not in place: what does not fit is Python's to add, to what was there */
            if (__builtin_add_overflow(value->whole, whole, &sum))
                return 0;
            value->whole = sum;
            return 1;
        }
        value->real = (double)value->whole + real;
        self->tags[row] = REAL;
        return 1;
    }
    if (self->tags[row] != REAL)
        return 0;
    value->real += is_real ? real : (double)whole;
    return 1;
}

static PyObject *numbers_add_all(Numbers *self, PyObject *argument)
{
    if (!Py_IS_TYPE(argument, &NumbersType) || argument == (PyObject *)self) {
        PyErr_SetString(PyExc_TypeError, "another table of this type is added");
        return NULL;
    }
    const Numbers *other = (Numbers *)argument;
    for (uint32_t row = 0; row < other->n; row++) {
        const uint8_t tag = other->tags[row];
        const Value *value = &other->values[row];
        if (tag == DEAD || (tag == WHOLE && value->whole == 0) || (tag == REAL && value->real == 0.0))
            continue;
        const Row *key = &other->keys->rows[row];
        const char *p = other->keys->arena + key->start;
        uint32_t own = numbers_find(self, p, SIZE_OF(key), key->hash);
        if (own == NO_ROW && (own = numbers_add(self, p, SIZE_OF(key), key->hash)) == NO_ROW)
            return NULL;
        if (tag != OTHER && added(self, own, tag == REAL, tag == REAL ? 0 : value->whole, tag == REAL ? value->real : 0))
            continue;
        PyObject *a = numbers_value(self, own), *b = numbers_value(other, row);
        PyObject *sum = a == NULL || b == NULL ? NULL : PyNumber_Add(a, b);
        int failed = sum == NULL || numbers_put(self, own, sum) < 0;
        Py_XDECREF(a);
        Py_XDECREF(b);
        Py_XDECREF(sum);
        if (failed)
            return NULL;
    }
    Py_RETURN_NONE;
}

/* ---- Text */

typedef struct {
    PyObject *array; /* a bytearray that grows: nothing is copied */
    char *p;
    size_t used, room;
} Text;

static int text_begin(Text *text, PyObject *array)
{
    if (!PyByteArray_CheckExact(array)) {
        PyErr_Format(PyExc_TypeError, "lines are put into a bytearray, not into %.100s", Py_TYPE(array)->tp_name);
        return -1;
    }
    *text = (Text){array, PyByteArray_AS_STRING(array), (size_t)PyByteArray_GET_SIZE(array), 0};
    text->room = text->used;
    return 0;
}

/* There is room, whatever Python did meanwhile; what is in the array up to `used` stays. */
static int text_room(Text *text, size_t more)
{
    const size_t now = (size_t)PyByteArray_GET_SIZE(text->array);
    if (now < text->used) {
        PyErr_SetString(PyExc_RuntimeError, "lines were taken away while they were written");
        return -1;
    }
    if (text->used + more > now) {
        const size_t wanted = text->used + text->used / 4 + more + 1000;
        if (wanted > PY_SSIZE_T_MAX || PyByteArray_Resize(text->array, (Py_ssize_t)wanted) < 0)
            return -1;
    }
    text->room = (size_t)PyByteArray_GET_SIZE(text->array);
    text->p = PyByteArray_AS_STRING(text->array);
    return 0;
}

/* What was written stays; of what failed nothing. NULL with an exception, or the number of lines. */
static PyObject *text_end(Text *text, size_t start, Py_ssize_t lines)
{
    const size_t used = lines < 0 ? start : text->used;
    PyObject *type, *value, *trace;
    PyErr_Fetch(&type, &value, &trace);
    int failed = (size_t)PyByteArray_GET_SIZE(text->array) > used && PyByteArray_Resize(text->array, (Py_ssize_t)used) < 0;
    if (type != NULL)
        PyErr_Restore(type, value, trace);
    return lines < 0 || failed ? NULL : PyLong_FromSsize_t(lines);
}

static inline void text_put(Text *text, const char *p, size_t size) /* there has to be room */
{
    memcpy(text->p + text->used, p, size);
    text->used += size;
}

static inline void text_whole(Text *text, int64_t value) /* there has to be room for 20 */
{
    char digits[20];
    char *end = digits + sizeof digits, *p = end;
    uint64_t rest = value < 0 ? 0 - (uint64_t)value : (uint64_t)value;
    do
        *--p = (char)('0' + rest % 10);
    while (rest /= 10);
    if (value < 0)
        text->p[text->used++] = '-';
    text_put(text, p, (size_t)(end - p));
}

/* numbers.format_number; 1: written, 0: not finite, -1: failed */
static int text_real(Text *text, double value)
{
    if (value - value != 0.0)
        return 0;
    if (value > -1e15 && value < 1e15 && value == (double)(int64_t)value) {
        text_whole(text, (int64_t)value);
        return 1;
    }
    char *digits = PyOS_double_to_string(value, 'r', 0, Py_DTSF_ADD_DOT_0, NULL);
    if (digits == NULL)
        return -1;
    size_t size = strlen(digits);
    int failed = text_room(text, size + 40) < 0; /* longer ones were not foreseen */
    if (!failed)
        text_put(text, digits, size);
    PyMem_Free(digits);
    return failed ? -1 : 1;
}

static int text_other(Text *text, PyObject *number, PyObject *divisor)
{
    PyObject *value = divisor == NULL ? Py_NewRef(number) : PyNumber_TrueDivide(number, divisor);
    int written = -1;
    if (value != NULL && PyFloat_Check(value)) {
        written = text_real(text, PyFloat_AS_DOUBLE(value));
    } else if (value != NULL) {
        PyObject *digits = PyObject_Str(value);
        Py_ssize_t size;
        const char *p = digits == NULL ? NULL : PyUnicode_AsUTF8AndSize(digits, &size);
        if (p != NULL && text_room(text, (size_t)size + 40) == 0) {
            text_put(text, p, (size_t)size);
            written = 1;
        }
        Py_XDECREF(digits);
    }
    Py_XDECREF(value);
    return written;
}

/* lines(into, before, behind, ending, divisor or None, path_of) -> lines: `before KEY behind NUMBER ending` of each key.
 * `path_of` tells the bytes that stand for `before KEY behind` where a key has other bytes than names have. */
static PyObject *numbers_lines(Numbers *self, PyObject *args)
{
    const char *before, *behind, *ending;
    Py_ssize_t before_size, behind_size, ending_size;
    PyObject *into, *divisor, *path_of;
    Text text;
    if (!PyArg_ParseTuple(args, "Oy#y#y#OO:lines", &into, &before, &before_size, &behind, &behind_size, &ending,
                          &ending_size, &divisor, &path_of) ||
        text_begin(&text, into) < 0)
        return NULL;
    double by = 1.0;
    if (divisor == Py_None)
        divisor = NULL;
    else if ((by = PyFloat_AsDouble(divisor)) == -1.0 && PyErr_Occurred())
        return NULL;
    const size_t begin = text.used;
    Py_ssize_t lines = 0;
    for (uint32_t row = 0; row < self->n; row++) {
        const uint8_t tag = self->tags[row];
        if (tag == DEAD)
            continue;
        const size_t start = text.used;
        const Row key = self->keys->rows[row];
        if (text_room(&text, (size_t)before_size + SIZE_OF(&key) + (size_t)behind_size + (size_t)ending_size + 40) < 0)
            goto failed;
        if (key.size & ODD) {
            PyObject *name = key_bytes(self->keys, row);
            PyObject *path = name == NULL ? NULL : PyObject_CallOneArg(path_of, name);
            char *p;
            Py_ssize_t size;
            int is_good = path != NULL && bytes_of(path, &p, &size) == 0;
            is_good = is_good && text_room(&text, (size_t)size + (size_t)ending_size + 40) == 0;
            if (is_good)
                text_put(&text, p, (size_t)size);
            Py_XDECREF(name);
            Py_XDECREF(path);
            if (!is_good)
                goto failed;
        } else {
            text_put(&text, before, (size_t)before_size);
            text_put(&text, self->keys->arena + key.start, SIZE_OF(&key));
            text_put(&text, behind, (size_t)behind_size);
        }
        text.p[text.used++] = ' ';
        int written = 1;
        if (row >= self->n || self->tags[row] != tag) { /* path_of must not, and cannot from here, but costs nothing */
            PyErr_SetString(PyExc_RuntimeError, "a table changed while its lines were written");
            goto failed;
        }
        if (tag == OTHER)
            written = text_other(&text, self->values[row].other, divisor);
        else if (tag == WHOLE && divisor != NULL && (self->values[row].whole > MOST_EXACT || self->values[row].whole < -MOST_EXACT)) {
            PyObject *value = PyLong_FromLongLong(self->values[row].whole); /* Python divides what no double holds */
            written = value == NULL ? -1 : text_other(&text, value, divisor);
            Py_XDECREF(value);
        } else if (tag == WHOLE && divisor == NULL)
            text_whole(&text, self->values[row].whole);
        else if (tag == WHOLE)
            written = text_real(&text, (double)self->values[row].whole / by);
        else
            written = text_real(&text, self->values[row].real / by);
        if (written < 0 || text_room(&text, (size_t)ending_size) < 0)
            goto failed;
        if (written) {
            text_put(&text, ending, (size_t)ending_size);
            lines++;
        } else
            text.used = start;
    }
    return text_end(&text, begin, lines);
failed:
    return text_end(&text, begin, -1);
}

/* lines(into, paths, numbers, ending) -> lines: a line for each path, which ends in a blank. */
static PyObject *lines_of(PyObject *module, PyObject *args)
{
    PyObject *into, *paths, *numbers;
    const char *ending;
    Py_ssize_t ending_size;
    Text text;
    if (!PyArg_ParseTuple(args, "OO!O!y#:lines", &into, &PyList_Type, &paths, &PyList_Type, &numbers, &ending,
                          &ending_size) ||
        text_begin(&text, into) < 0)
        return NULL;
    if (PyList_GET_SIZE(paths) != PyList_GET_SIZE(numbers)) {
        PyErr_SetString(PyExc_ValueError, "each path has one number");
        return NULL;
    }
    const size_t begin = text.used;
    Py_ssize_t lines = 0;
    for (Py_ssize_t i = 0; i < PyList_GET_SIZE(paths) && i < PyList_GET_SIZE(numbers); i++) {
        const size_t start = text.used;
        char *p;
        Py_ssize_t size;
        PyObject *number = PyList_GET_ITEM(numbers, i);
        if (bytes_of(PyList_GET_ITEM(paths, i), &p, &size) < 0 || text_room(&text, (size_t)(size + ending_size) + 40) < 0)
            goto failed;
        text_put(&text, p, (size_t)size);
        int written;
        if (PyFloat_Check(number))
            written = text_real(&text, PyFloat_AS_DOUBLE(number));
        else if (PyLong_Check(number)) {
            int overflow;
            const long long whole = PyLong_AsLongLongAndOverflow(number, &overflow);
            written = 1;
            if (overflow)
                written = text_other(&text, number, NULL);
            else
                text_whole(&text, whole);
        } else {
            PyErr_Format(PyExc_TypeError, "a value is an int or a float, not %.100s", Py_TYPE(number)->tp_name);
            goto failed;
        }
        if (written < 0 || text_room(&text, (size_t)ending_size) < 0)
            goto failed;
        if (written) {
            text_put(&text, ending, (size_t)ending_size);
            lines++;
        } else
            text.used = start;
    }
    return text_end(&text, begin, lines);
failed:
    return text_end(&text, begin, -1);
}

static PyObject *size_of_memory(const Keys *keys, size_t more)
{
    return PyLong_FromSize_t(more + sizeof(Keys) + keys->room + keys->row_room * sizeof(Row) +
                             (keys->mask + (size_t)1 + (keys->old == NULL ? 0 : keys->old_mask + (size_t)1)) * sizeof(Slot));
}

static PyObject *numbers_sizeof(Numbers *self, PyObject *unused)
{
    return size_of_memory(self->keys, sizeof(Numbers) + self->room * (sizeof(Value) + 1));
}

static PyMethodDef numbers_methods[] = {
    {"get", (PyCFunction)numbers_get, METH_VARARGS, "As a dict's."},
    {"pop", (PyCFunction)numbers_pop, METH_VARARGS, "As a dict's."},
    {"setdefault", (PyCFunction)numbers_setdefault, METH_VARARGS, "As a dict's."},
    {"keys", (PyCFunction)numbers_keys, METH_NOARGS, "A list of them, in their order."},
    {"values", (PyCFunction)numbers_values, METH_NOARGS, "A list of them, in their order."},
    {"items", (PyCFunction)numbers_items, METH_NOARGS, "A list of them, in their order."},
    {"copy", (PyCFunction)numbers_copy, METH_NOARGS, "A table that shares nothing but the memory of the keys."},
    {"zeroed", (PyCFunction)numbers_zeroed, METH_NOARGS, "The same keys, each with 0."},
    {"add_all", (PyCFunction)numbers_add_all, METH_O, "Adds what another table has that is not 0."},
    {"lines", (PyCFunction)numbers_lines, METH_VARARGS, "Text and number of lines: see _lines.pyi."},
    {"__sizeof__", (PyCFunction)numbers_sizeof, METH_NOARGS, NULL},
    {NULL, NULL, 0, NULL},
};
static PyMappingMethods numbers_mapping = {(lenfunc)numbers_length, (binaryfunc)numbers_subscript, (objobjargproc)numbers_assign};
static PySequenceMethods numbers_sequence = {.sq_contains = (objobjproc)numbers_contains};
static PyTypeObject NumbersType = {
    PyVarObject_HEAD_INIT(NULL, 0).tp_name = "brokersim.native._lines.Numbers",
    .tp_basicsize = sizeof(Numbers),
    .tp_dealloc = (destructor)numbers_dealloc,
    .tp_flags = Py_TPFLAGS_DEFAULT,
    .tp_doc = "Numbers by key, in the order of the keys; strings and None too.",
    .tp_new = numbers_new,
    .tp_iter = (getiterfunc)numbers_iter,
    .tp_methods = numbers_methods,
    .tp_as_mapping = &numbers_mapping,
    .tp_as_sequence = &numbers_sequence,
};

#include "makers.h"

/* ---- Samples: key to the timings of an interval */

typedef struct {
    double *values;
    uint32_t n, room;
} Many;

typedef struct {
    PyObject_HEAD
    Keys *keys; /* its own alone */
    Many *rows; /* of a key that was deleted: room is NO_ROW */
    uint32_t n, live, room;
} Samples;

static void samples_free(Samples *self)
{
    for (uint32_t row = 0; row < self->n; row++)
        if (self->rows[row].room != NO_ROW)
            PyMem_Free(self->rows[row].values);
    PyMem_Free(self->rows);
    keys_drop(self->keys);
}

static void samples_dealloc(Samples *self)
{
    samples_free(self);
    Py_TYPE(self)->tp_free((PyObject *)self);
}

static PyObject *samples_new(PyTypeObject *type, PyObject *args, PyObject *kwargs)
{
    if (!PyArg_ParseTuple(args, "") || (kwargs != NULL && PyDict_GET_SIZE(kwargs) != 0))
        return NULL;
    Keys *keys = keys_new(0);
    Samples *self = keys == NULL ? NULL : (Samples *)type->tp_alloc(type, 0);
    if (self == NULL)
        keys_drop(keys);
    else
        self->keys = keys;
    return (PyObject *)self;
}

static inline uint32_t samples_find(const Samples *self, const char *p, size_t size, uint64_t hash)
{
    uint32_t row = keys_find(self->keys, p, size, hash);
    return row != NO_ROW && self->rows[row].room != NO_ROW ? row : NO_ROW;
}

static int samples_compact(Samples *self)
{
    Keys *keys = keys_new(self->live);
    if (keys == NULL)
        return -1;
    for (uint32_t row = 0; row < self->n; row++) {
        if (self->rows[row].room == NO_ROW)
            continue;
        const Row *key = &self->keys->rows[row];
        if (keys_add(keys, self->keys->arena + key->start, SIZE_OF(key), key->hash) == NO_ROW) {
            keys_drop(keys);
            return -1;
        }
    }
    uint32_t n = 0;
    for (uint32_t row = 0; row < self->n; row++)
        if (self->rows[row].room != NO_ROW)
            self->rows[n++] = self->rows[row];
    self->n = n;
    keys_drop(self->keys);
    self->keys = keys;
    return 0;
}

static uint32_t samples_add(Samples *self, const char *p, size_t size, uint64_t hash)
{
    if (keys_find(self->keys, p, size, hash) != NO_ROW && samples_compact(self) < 0)
        return NO_ROW;
    size_t room = self->room;
    if (self->n == self->room && grown((void **)&self->rows, sizeof(Many), self->n + (size_t)1, &room) < 0)
        return NO_ROW;
    self->room = (uint32_t)room;
    uint32_t row = keys_add(self->keys, p, size, hash);
    if (row == NO_ROW)
        return NO_ROW;
    self->rows[row] = (Many){NULL, 0, 0};
    self->n = row + 1;
    self->live++;
    return row;
}

static uint32_t samples_row(const Samples *self, PyObject *key)
{
    char *p;
    Py_ssize_t size;
    if (bytes_of(key, &p, &size) < 0)
        return NO_ROW;
    return samples_find(self, p, (size_t)size, hash_of(p, (size_t)size));
}

static inline int many_append(Many *many, double value)
{
    if (many->n == many->room) {
        size_t room = many->room;
        if (many->room >= NO_ROW / 4) {
            PyErr_NoMemory();
            return -1;
        }
        if (grown((void **)&many->values, sizeof(double), room * 2, &room) < 0)
            return -1;
        many->room = (uint32_t)room;
    }
    many->values[many->n++] = value;
    return 0;
}

static PyObject *samples_extend(Samples *self, PyObject *args)
{
    PyObject *key, *values;
    if (!PyArg_ParseTuple(args, "OO!:extend", &key, &PyList_Type, &values))
        return NULL;
    char *p;
    Py_ssize_t size;
    if (bytes_of(key, &p, &size) < 0)
        return NULL;
    const uint64_t hash = hash_of(p, (size_t)size);
    uint32_t row = samples_find(self, p, (size_t)size, hash);
    for (Py_ssize_t i = 0; i < PyList_GET_SIZE(values); i++)
        if (!PyFloat_Check(PyList_GET_ITEM(values, i))) {
            PyErr_SetString(PyExc_TypeError, "samples are floats");
            return NULL;
        }
    if (row == NO_ROW && (row = samples_add(self, p, (size_t)size, hash)) == NO_ROW)
        return NULL;
    for (Py_ssize_t i = 0; i < PyList_GET_SIZE(values); i++)
        if (many_append(&self->rows[row], PyFloat_AS_DOUBLE(PyList_GET_ITEM(values, i))) < 0)
            return NULL;
    return PyLong_FromUnsignedLong(self->rows[row].n);
}

static PyObject *samples_of(Samples *self, PyObject *key)
{
    uint32_t row = samples_row(self, key);
    if (PyErr_Occurred())
        return NULL;
    const uint32_t n = row == NO_ROW ? 0 : self->rows[row].n;
    PyObject *list = PyList_New(n);
    for (uint32_t i = 0; list != NULL && i < n; i++) {
        PyObject *value = PyFloat_FromDouble(self->rows[row].values[i]);
        if (value == NULL)
            Py_CLEAR(list);
        else
            PyList_SET_ITEM(list, i, value);
    }
    return list;
}

static PyObject *samples_empty(Samples *self, PyObject *key)
{
    uint32_t row = samples_row(self, key);
    if (row != NO_ROW)
        self->rows[row].n = 0;
    else if (PyErr_Occurred())
        return NULL;
    Py_RETURN_NONE;
}

/* What a quiet interval did not need is given back. */
static PyObject *samples_clear(Samples *self, PyObject *unused)
{
    for (uint32_t row = 0; row < self->n; row++) {
        Many *many = &self->rows[row];
        if (many->room != NO_ROW && many->n < many->room / 4) {
            PyMem_Free(many->values);
            *many = (Many){NULL, 0, 0};
        }
        many->n = 0;
    }
    Py_RETURN_NONE;
}

static PyObject *samples_longer(Samples *self, PyObject *argument)
{
    unsigned long than = PyLong_AsUnsignedLong(argument);
    if (PyErr_Occurred())
        return NULL;
    PyObject *list = PyList_New(0);
    for (uint32_t row = 0; list != NULL && row < self->n; row++) {
        if (self->rows[row].room == NO_ROW || self->rows[row].n <= than)
            continue;
        PyObject *key = key_bytes(self->keys, row);
        if (key == NULL || PyList_Append(list, key) < 0)
            Py_CLEAR(list);
        Py_XDECREF(key);
    }
    return list;
}

static PyObject *samples_pop(Samples *self, PyObject *args)
{
    PyObject *key, *other;
    if (!PyArg_ParseTuple(args, "OO:pop", &key, &other))
        return NULL;
    uint32_t row = samples_row(self, key);
    if (row == NO_ROW)
        return PyErr_Occurred() ? NULL : Py_NewRef(other);
    PyObject *list = samples_of(self, key);
    if (list == NULL)
        return NULL;
    PyMem_Free(self->rows[row].values);
    self->rows[row] = (Many){NULL, 0, NO_ROW};
    self->live--;
    uint32_t dead = self->n - self->live;
    if (dead > 1000 && dead > self->live && samples_compact(self) < 0)
        Py_CLEAR(list);
    return list;
}

static PyObject *samples_iter(Samples *self)
{
    PyObject *list = PyList_New(0);
    for (uint32_t row = 0; list != NULL && row < self->n; row++) {
        if (self->rows[row].room == NO_ROW)
            continue;
        PyObject *key = key_bytes(self->keys, row);
        if (key == NULL || PyList_Append(list, key) < 0)
            Py_CLEAR(list);
        Py_XDECREF(key);
    }
    PyObject *iterator = list == NULL ? NULL : PyObject_GetIter(list);
    Py_XDECREF(list);
    return iterator;
}

static int samples_contains(Samples *self, PyObject *key)
{
    uint32_t row = samples_row(self, key);
    return row != NO_ROW ? 1 : PyErr_Occurred() ? -1 : 0;
}

static Py_ssize_t samples_length(Samples *self) { return self->live; }

static PyObject *samples_sizeof(Samples *self, PyObject *unused)
{
    size_t size = sizeof(Samples) + self->room * sizeof(Many);
    for (uint32_t row = 0; row < self->n; row++)
        if (self->rows[row].room != NO_ROW)
            size += self->rows[row].room * sizeof(double);
    return size_of_memory(self->keys, size);
}

static PyMethodDef samples_methods[] = {
    {"extend", (PyCFunction)samples_extend, METH_VARARGS, "Adds floats to a key's, new or not; how many it has now."},
    {"of", (PyCFunction)samples_of, METH_O, "A key's samples as they came; none of a key that is not there."},
    {"empty", (PyCFunction)samples_empty, METH_O, "A key has no samples any more; it stays."},
    {"clear_samples", (PyCFunction)samples_clear, METH_NOARGS, "No key has samples any more; they stay."},
    {"longer", (PyCFunction)samples_longer, METH_O, "The keys that have more samples than so many."},
    {"pop", (PyCFunction)samples_pop, METH_VARARGS, "As a dict's."},
    {"__sizeof__", (PyCFunction)samples_sizeof, METH_NOARGS, NULL},
    {NULL, NULL, 0, NULL},
};
static PyMappingMethods samples_mapping = {.mp_length = (lenfunc)samples_length};
static PySequenceMethods samples_sequence = {.sq_contains = (objobjproc)samples_contains};
static PyTypeObject SamplesType = {
    PyVarObject_HEAD_INIT(NULL, 0).tp_name = "brokersim.native._lines.Samples",
    .tp_basicsize = sizeof(Samples),
    .tp_dealloc = (destructor)samples_dealloc,
    .tp_flags = Py_TPFLAGS_DEFAULT,
    .tp_doc = "Samples by key, in the order of the keys.",
    .tp_new = samples_new,
    .tp_iter = (getiterfunc)samples_iter,
    .tp_methods = samples_methods,
    .tp_as_mapping = &samples_mapping,
    .tp_as_sequence = &samples_sequence,
};

/* ---- Reader */

enum { A_COUNT, A_GAUGE, A_TIMING, KINDS_OF_NEW }; /* and sets, which only count */

/* What must be so for a new name to be taken in here: see `welcome` in _lines.pyi. */
typedef struct {
    Numbers *known[KINDS_OF_NEW + 1]; /* NULL: none is */
    int is_welcome[KINDS_OF_NEW];
    Py_ssize_t most, longest;
    PyObject *taken, *reserved;
} Newcomers;

/* What lines of a form say: forms.py. `key` is where its key lies in the reader's own. */
typedef struct {
    PyObject *key;
    uint64_t hash;
    double weight;
    int kind;
} Form;

/* What Python is asked while packets are read. */
typedef struct {
    PyObject *other, *refused, *sender_of;
    PyObject *sender; /* of the packet that is read; NULL: nobody asked yet */
    Py_ssize_t packet;
} Asked;

#define MOST_FORMS 8192

typedef struct {
    PyObject_HEAD
    Numbers *counts, *gauges;
    Samples *timings;
    int has_decimals; /* a counter or a gauge with decimals is that number */
    Py_ssize_t limit; /* longer packets are cut, which Python does */
    int packs; /* `1:2|ms` is two timings */
    Newcomers newcomers;
    Keys *forms; /* name LF suffix */
    Form *form_rows;
    uint32_t form_room;
} Reader;

static void forms_drop(Reader *self)
{
    for (uint32_t row = 0; self->forms != NULL && row < self->forms->n; row++)
        Py_DECREF(self->form_rows[row].key);
    keys_drop(self->forms);
    self->forms = NULL;
}

static void reader_dealloc(Reader *self)
{
    forms_drop(self);
    PyMem_Free(self->form_rows);
    Py_XDECREF(self->counts);
    Py_XDECREF(self->gauges);
    Py_XDECREF(self->timings);
    for (int kind = 0; kind <= KINDS_OF_NEW; kind++)
        Py_XDECREF(self->newcomers.known[kind]);
    Py_XDECREF(self->newcomers.taken);
    Py_XDECREF(self->newcomers.reserved);
    Py_TYPE(self)->tp_free((PyObject *)self);
}

static PyObject *reader_welcome(Reader *self, PyObject *args)
{
    Newcomers new = {.most = 0};
    if (!PyArg_ParseTuple(args, "(O!O!O!O!)(ppp)nnO!S:welcome", &NumbersType, &new.known[0], &NumbersType, &new.known[1],
                          &NumbersType, &new.known[2], &NumbersType, &new.known[3], &new.is_welcome[A_COUNT],
                          &new.is_welcome[A_GAUGE], &new.is_welcome[A_TIMING], &new.most, &new.longest, &PyDict_Type,
                          &new.taken, &new.reserved))
        return NULL;
    if (self->newcomers.taken != NULL) {
        PyErr_SetString(PyExc_RuntimeError, "newcomers are welcome already");
        return NULL;
    }
    for (int kind = 0; kind <= KINDS_OF_NEW; kind++)
        Py_INCREF(new.known[kind]);
    Py_INCREF(new.taken);
    Py_INCREF(new.reserved);
    self->newcomers = new;
    Py_RETURN_NONE;
}

static PyObject *reader_point(Reader *self, PyObject *args)
{
    PyObject *counts, *gauges, *timings;
    if (!PyArg_ParseTuple(args, "O!O!O!:point", &NumbersType, &counts, &NumbersType, &gauges, &SamplesType, &timings))
        return NULL;
    Py_XSETREF(self->counts, (Numbers *)Py_NewRef(counts));
    Py_XSETREF(self->gauges, (Numbers *)Py_NewRef(gauges));
    Py_XSETREF(self->timings, (Samples *)Py_NewRef(timings));
    Py_RETURN_NONE;
}

static PyObject *reader_new(PyTypeObject *type, PyObject *args, PyObject *kwargs)
{
    PyObject *counts, *gauges, *timings;
    int has_decimals, packs;
    Py_ssize_t limit;
    if (!PyArg_ParseTuple(args, "O!O!O!ppn", &NumbersType, &counts, &NumbersType, &gauges, &SamplesType, &timings,
                          &has_decimals, &packs, &limit) ||
        (kwargs != NULL && PyDict_GET_SIZE(kwargs) != 0))
        return NULL;
    Reader *self = (Reader *)type->tp_alloc(type, 0);
    if (self == NULL)
        return NULL;
    self->counts = (Numbers *)Py_NewRef(counts);
    self->gauges = (Numbers *)Py_NewRef(gauges);
    self->timings = (Samples *)Py_NewRef(timings);
    self->has_decimals = has_decimals;
    self->packs = packs;
    self->limit = limit;
    return (PyObject *)self;
}

/* As many digits are surely a double, also when they are divided by as large a power of ten: all dialects agree. */
#define EXACT_DIGITS 15
static const double tens[] = {1e0, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9, 1e10, 1e11, 1e12, 1e13, 1e14, 1e15};

typedef struct {
    int is_real;
    int64_t whole; /* the digits, if it is real */
    double real;
} Plain;

/* Digits, with one dot among them or none: where they end, or NULL if they are nobody's or Python's to read. */
static inline const char *read_plain(const char *p, const char *end, Plain *number)
{
    const char *dot = NULL;
    int64_t whole = 0;
    int digits = 0;
    for (; p < end; p++) {
        const unsigned digit = (unsigned)(unsigned char)*p - '0';
        if (digit <= 9) {
            if (++digits > EXACT_DIGITS)
                return NULL;
            whole = whole * 10 + digit;
        } else if (*p == '.' && dot == NULL && digits != 0)
            dot = p;
        else
            break;
    }
    *number = (Plain){dot != NULL, whole, 0};
    if (dot == NULL)
        return digits == 0 ? NULL : p;
    const Py_ssize_t decimals = p - dot - 1;
    if (decimals == 0)
        return NULL;
    number->real = (double)whole / tens[decimals];
    return p;
}

/* The row of a new name, which is known from here on; NO_ROW: Python has to see its line, or with an exception. */
static uint32_t take_new(Reader *self, int kind, const char *line, const char *end, size_t size, uint64_t hash, Asked *asked)
{
    Newcomers *new = &self->newcomers;
    if (new->taken == NULL || !new->is_welcome[kind] || (Py_ssize_t)size > new->longest || !is_plain(line, size))
        return NO_ROW;
    const size_t reserved = (size_t)PyBytes_GET_SIZE(new->reserved);
    if (size >= reserved && memcmp(line, PyBytes_AS_STRING(new->reserved), reserved) == 0)
        return NO_ROW;
    if (numbers_find(new->known[kind], line, size, hash) != NO_ROW)
        return NO_ROW; /* known, but not to be written here: it was disabled, or expired */
    Py_ssize_t keys = 0;
    for (int each = 0; each <= KINDS_OF_NEW; each++)
        keys += new->known[each]->live;
    if (keys >= new->most) {
        PyObject *done = PyObject_CallFunction(asked->refused, "y#n", line, (Py_ssize_t)(end - line), asked->packet);
        Py_XDECREF(done);
        return done == NULL ? NO_ROW : REFUSED;
    }
    if (PyDict_GET_SIZE(new->taken) != 0) {
        PyObject *key = PyBytes_FromStringAndSize(line, (Py_ssize_t)size);
        int is_taken = key == NULL ? -1 : PyDict_Contains(new->taken, key);
        Py_XDECREF(key);
        if (is_taken != 0)
            return NO_ROW;
    }
    if (asked->sender == NULL && (asked->sender = PyObject_CallFunction(asked->sender_of, "n", asked->packet)) == NULL)
        return NO_ROW;
    const uint32_t known = numbers_add(new->known[kind], line, size, hash);
    if (known == NO_ROW || numbers_put(new->known[kind], known, asked->sender) < 0)
        return NO_ROW;
    return kind == A_TIMING ? samples_add(self->timings, line, size, hash)
                            : numbers_add(kind == A_GAUGE ? self->gauges : self->counts, line, size, hash);
}

static inline int is_set(Numbers *table, uint32_t row, const Plain *number) /* 0: Python has to */
{
    if (table->tags[row] == OTHER)
        return 0;
    table->tags[row] = number->is_real ? REAL : WHOLE;
    if (number->is_real)
        table->values[row].real = number->real;
    else
        table->values[row].whole = number->whole;
    return 1;
}

#define LONGEST_FORM 1000
#define MOST_PACKED 64

static int take_packed(Reader *self, const Form *form, const char *p, const char *end)
{
    double values[MOST_PACKED];
    int count = 0;
    for (;; p++) {
        Plain number;
        if (count == MOST_PACKED || (p = read_plain(p, end, &number)) == NULL || (p < end && *p != ':'))
            return 0;
        values[count++] = number.is_real ? number.real : (double)number.whole;
        if (p == end)
            break;
    }
    if (count > 1 && !self->packs)
        return 0;
    const uint32_t row = samples_find(self->timings, PyBytes_AS_STRING(form->key), (size_t)PyBytes_GET_SIZE(form->key), form->hash);
    if (row == NO_ROW)
        return 0;
    for (int i = 0; i < count; i++)
        if (many_append(&self->timings->rows[row], values[i]) < 0)
            return -1;
    return 1;
}

/* The same for a line whose form was judged before (forms.py): Store.take_known for what is usual. */
static int take_form(Reader *self, const char *line, const char *end)
{
    const char *colon = memchr(line, ':', (size_t)(end - line));
    const char *bar = colon == NULL ? NULL : memchr(colon, '|', (size_t)(end - colon));
    if (bar == NULL || (colon - line) + (end - bar) > LONGEST_FORM)
        return 0;
    char text[LONGEST_FORM + 1];
    const size_t name = (size_t)(colon - line), suffix = (size_t)(end - bar - 1);
    memcpy(text, line, name);
    text[name] = '\n';
    memcpy(text + name + 1, bar + 1, suffix);
    const uint32_t at = keys_find(self->forms, text, name + 1 + suffix, hash_of(text, name + 1 + suffix));
    if (at == NO_ROW)
        return 0;
    const Form *form = &self->form_rows[at];
    const char *p = colon + 1;
    if (form->kind == A_TIMING)
        return take_packed(self, form, p, bar);
    const char sign = p < bar && (*p == '+' || *p == '-') ? *p : 0;
    Plain number;
    if (read_plain(sign ? p + 1 : p, bar, &number) != bar)
        return 0;
    if (sign == '-') {
        number.whole = -number.whole;
        number.real = -number.real;
    }
    Numbers *table = form->kind == A_GAUGE ? self->gauges : self->counts;
    const uint32_t row = numbers_find(table, PyBytes_AS_STRING(form->key), (size_t)PyBytes_GET_SIZE(form->key), form->hash);
    if (row == NO_ROW)
        return 0;
    if (form->kind == A_GAUGE && !sign)
        return is_set(table, row, &number);
    if (form->weight != 1.0)
        number = (Plain){1, 0, (number.is_real ? number.real : (double)number.whole) * form->weight};
    return added(table, row, number.is_real, number.whole, number.real);
}

/* remember(name, suffix, kind, key, weight) */
static PyObject *reader_remember(Reader *self, PyObject *args)
{
    const char *name, *suffix;
    Py_ssize_t name_size, suffix_size;
    int kind;
    PyObject *key;
    double weight;
    if (!PyArg_ParseTuple(args, "y#y#iSd:remember", &name, &name_size, &suffix, &suffix_size, &kind, &key, &weight))
        return NULL;
    if (kind < 0 || kind >= KINDS_OF_NEW) {
        PyErr_SetString(PyExc_ValueError, "a form is of a counter, a gauge or a timing: 0, 1 or 2");
        return NULL;
    }
    if (name_size + suffix_size > LONGEST_FORM - 2)
        Py_RETURN_NONE;
    if (self->forms != NULL && self->forms->n >= MOST_FORMS)
        forms_drop(self);
    if (self->forms == NULL && (self->forms = keys_new(0)) == NULL)
        return NULL;
    size_t room = self->form_room;
    if (self->forms->n >= room && grown((void **)&self->form_rows, sizeof(Form), self->forms->n + (size_t)1, &room) < 0)
        return NULL;
    self->form_room = (uint32_t)room;
    char text[LONGEST_FORM + 1];
    memcpy(text, name, (size_t)name_size);
    text[name_size] = '\n';
    memcpy(text + name_size + 1, suffix, (size_t)suffix_size);
    const size_t size = (size_t)(name_size + 1 + suffix_size);
    const uint64_t hash = hash_of(text, size);
    uint32_t row = keys_find(self->forms, text, size, hash);
    const int is_new = row == NO_ROW;
    if (is_new && (row = keys_add(self->forms, text, size, hash)) == NO_ROW)
        return NULL;
    PyObject *old = is_new ? NULL : self->form_rows[row].key;
    self->form_rows[row] = (Form){Py_NewRef(key), hash_of(PyBytes_AS_STRING(key), (size_t)PyBytes_GET_SIZE(key)), weight, kind};
    Py_XDECREF(old);
    Py_RETURN_NONE;
}

/* Takes a line in if it is plain: 1. 0: Python has to judge it, and nothing happened; -1: with an exception. */
static inline int take_plain(Reader *self, const char *line, const char *end, Asked *asked)
{
    const char *colon = memchr(line, ':', (size_t)(end - line));
    if (colon == NULL)
        return 0;
    Plain number;
    const char *p = read_plain(colon + 1, end, &number);
    if (p == NULL)
        return 0;
    const Py_ssize_t left = end - p;
    if (left < 2 || *p != '|')
        return 0;
    const size_t size = (size_t)(colon - line);
    if (left == 2 && (p[1] == 'g' || p[1] == 'c')) {
        if (number.is_real && !self->has_decimals)
            return 0;
        Numbers *table = p[1] == 'g' ? self->gauges : self->counts;
        const uint64_t hash = hash_of(line, size);
        uint32_t row = numbers_find(table, line, size, hash);
        if (row == NO_ROW) {
            row = take_new(self, p[1] == 'g' ? A_GAUGE : A_COUNT, line, end, size, hash, asked);
            if (row == NO_ROW)
                return PyErr_Occurred() ? -1 : 0;
            if (row == REFUSED)
                return 1;
        }
        if (p[1] == 'c')
            return added(table, row, number.is_real, number.whole, number.real);
        return is_set(table, row, &number);
    }
    if (left == 3 && p[1] == 'm' && p[2] == 's') {
        const uint64_t hash = hash_of(line, size);
        uint32_t row = samples_find(self->timings, line, size, hash);
        if (row == NO_ROW) {
            row = take_new(self, A_TIMING, line, end, size, hash, asked);
            if (row == NO_ROW)
                return PyErr_Occurred() ? -1 : 0;
            if (row == REFUSED)
                return 1;
        }
        return many_append(&self->timings->rows[row], number.is_real ? number.real : (double)number.whole) < 0 ? -1 : 1;
    }
    return 0;
}

static int ask_line(Asked *asked, const char *line, const char *end)
{
    PyObject *done = PyObject_CallFunction(asked->other, "y#n", line, (Py_ssize_t)(end - line), asked->packet);
    Py_XDECREF(done);
    return done == NULL ? -1 : 0;
}

static Py_ssize_t take_lines(Reader *self, const char *p, const char *end, Asked *asked)
{
    Py_ssize_t lines = 0;
    while (p < end) {
        const char *stop = memchr(p, '\n', (size_t)(end - p));
        if (stop == NULL)
            stop = end;
        int taken = take_plain(self, p, stop, asked);
        if (taken == 0 && self->forms != NULL)
            taken = take_form(self, p, stop);
        if (taken < 0 || (taken == 0 && ask_line(asked, p, stop) < 0))
            return -1;
        lines++;
        p = stop + 1;
    }
    return lines;
}

/* ---- Datagrams: what a socket receives, many with one call */

#ifdef __linux__
#include <errno.h>
#include <sys/socket.h>

#define AT_ONCE 64
#define NEAR 2048 /* so much of each stays in a processor's cache; what is longer goes on in a second piece */
#define FAR 65536
#define NAME 28 /* sockaddr_in6, the longer of the two */

typedef struct {
    PyObject_HEAD
    int fd, count;
    char *near, *far, *whole; /* untouched pages of `far` take no memory */
    struct mmsghdr messages[AT_ONCE];
    struct iovec pieces[2 * AT_ONCE];
    char names[AT_ONCE][NAME];
} Datagrams;

static PyTypeObject DatagramsType;

static void datagrams_dealloc(Datagrams *self)
{
    PyMem_RawFree(self->near);
    Py_TYPE(self)->tp_free((PyObject *)self);
}

static PyObject *datagrams_new(PyTypeObject *type, PyObject *args, PyObject *kwargs)
{
    int fd;
    if (!PyArg_ParseTuple(args, "i", &fd) || (kwargs != NULL && PyDict_GET_SIZE(kwargs) != 0))
        return NULL;
    Datagrams *self = (Datagrams *)type->tp_alloc(type, 0);
    if (self == NULL)
        return NULL;
    self->fd = fd;
    self->near = PyMem_RawMalloc((size_t)AT_ONCE * (NEAR + FAR) + NEAR + FAR);
    if (self->near == NULL) {
        Py_DECREF(self);
        return PyErr_NoMemory();
    }
    self->far = self->near + (size_t)AT_ONCE * NEAR;
    self->whole = self->far + (size_t)AT_ONCE * FAR;
    for (int i = 0; i < AT_ONCE; i++) {
        self->pieces[2 * i] = (struct iovec){self->near + (size_t)i * NEAR, NEAR};
        self->pieces[2 * i + 1] = (struct iovec){self->far + (size_t)i * FAR, FAR};
    }
    return (PyObject *)self;
}

static PyObject *datagrams_receive(Datagrams *self, PyObject *unused)
{
    for (int i = 0; i < AT_ONCE; i++)
        self->messages[i].msg_hdr = (struct msghdr){.msg_name = self->names[i], .msg_namelen = NAME,
                                                    .msg_iov = &self->pieces[2 * i], .msg_iovlen = 2};
    self->count = 0;
    int count = recvmmsg(self->fd, self->messages, AT_ONCE, MSG_DONTWAIT, NULL);
    /* Anything but these is emptiness, or the report of an earlier packet's fate, which is none of ours. */
    if (count < 0 && (errno == ENOSYS || errno == EPERM))
        return PyErr_SetFromErrno(PyExc_OSError);
    self->count = count < 0 ? 0 : count;
    return PyLong_FromLong(self->count);
}

/* A datagram in one piece, until the next is asked for. */
static const char *datagram(Datagrams *self, int index, size_t *size)
{
    const char *near = self->near + (size_t)index * NEAR;
    *size = self->messages[index].msg_len;
    if (*size <= NEAR)
        return near;
    if (*size > NEAR + FAR)
        *size = NEAR + FAR;
    memcpy(self->whole, near, NEAR);
    memcpy(self->whole + NEAR, self->far + (size_t)index * FAR, *size - NEAR);
    return self->whole;
}

static int datagram_index(Datagrams *self, PyObject *argument) /* -1 with an exception */
{
    long index = PyLong_AsLong(argument);
    if (PyErr_Occurred())
        return -1;
    if (index < 0 || index >= self->count) {
        PyErr_SetString(PyExc_IndexError, "no such datagram was received");
        return -1;
    }
    return (int)index;
}

static PyObject *datagrams_packet(Datagrams *self, PyObject *argument)
{
    int index = datagram_index(self, argument);
    if (index < 0)
        return NULL;
    size_t size;
    const char *p = datagram(self, index, &size);
    return PyBytes_FromStringAndSize(p, (Py_ssize_t)size);
}

static PyObject *datagrams_name(Datagrams *self, PyObject *argument)
{
    int index = datagram_index(self, argument);
    return index < 0 ? NULL : PyBytes_FromStringAndSize(self->names[index], NAME);
}

static PyObject *datagrams_size(Datagrams *self, PyObject *unused)
{
    size_t size = 0;
    for (int i = 0; i < self->count; i++)
        size += self->messages[i].msg_len;
    return PyLong_FromSize_t(size);
}

static PyMethodDef datagrams_methods[] = {
    {"receive", (PyCFunction)datagrams_receive, METH_NOARGS, "Receives what waits; how many that are."},
    {"packet", (PyCFunction)datagrams_packet, METH_O, "The bytes of one of them."},
    {"name", (PyCFunction)datagrams_name, METH_O, "The socket address that sent it."},
    {"size", (PyCFunction)datagrams_size, METH_NOARGS, "Bytes of all of them."},
    {NULL, NULL, 0, NULL},
};
static PyMemberDef datagrams_members[] = {
    {"count", T_INT, offsetof(Datagrams, count), READONLY, "How many were received last."},
    {NULL, 0, 0, 0, NULL},
};
static PyTypeObject DatagramsType = {
    PyVarObject_HEAD_INIT(NULL, 0).tp_name = "brokersim.native._lines.Datagrams",
    .tp_basicsize = sizeof(Datagrams),
    .tp_dealloc = (destructor)datagrams_dealloc,
    .tp_flags = Py_TPFLAGS_DEFAULT,
    .tp_doc = "What waits in a UDP socket, up to 64 datagrams with one call.",
    .tp_new = datagrams_new,
    .tp_members = datagrams_members,
    .tp_methods = datagrams_methods,
};

static Py_ssize_t take_packet(Reader *, const char *, size_t, Py_ssize_t, Asked *, PyObject *);

/* take_datagrams(datagrams, other, refused, sender_of, whole) -> lines, as `take`. */
static PyObject *reader_take_datagrams(Reader *self, PyObject *args)
{
    PyObject *argument, *whole;
    Asked asked = {.sender = NULL};
    if (!PyArg_ParseTuple(args, "O!OOOO:take_datagrams", &DatagramsType, &argument, &asked.other, &asked.refused,
                          &asked.sender_of, &whole))
        return NULL;
    Datagrams *datagrams = (Datagrams *)Py_NewRef(argument);
    Py_ssize_t lines = 0, some = 0;
    for (int i = 0; some >= 0 && i < datagrams->count; i++) {
        size_t size;
        const char *p = datagram(datagrams, i, &size);
        some = take_packet(self, p, size, i, &asked, whole);
        lines += some;
    }
    Py_DECREF(datagrams);
    return some < 0 ? NULL : PyLong_FromSsize_t(lines);
}
#endif

static Py_ssize_t take_packet(Reader *self, const char *p, size_t size, Py_ssize_t index, Asked *asked, PyObject *whole)
{
    if ((Py_ssize_t)size <= self->limit && memchr(p, 0, size) == NULL) {
        asked->packet = index;
        const Py_ssize_t lines = take_lines(self, p, p + size, asked);
        Py_CLEAR(asked->sender);
        return lines;
    }
    PyObject *done = PyObject_CallFunction(whole, "n", index);
    Py_ssize_t lines = done == NULL ? -1 : PyLong_AsSsize_t(done);
    Py_XDECREF(done);
    if (lines < 0 && !PyErr_Occurred())
        PyErr_SetString(PyExc_ValueError, "a packet has no number of lines below 0");
    return lines;
}

/* take(packets, other, refused, sender_of, whole) -> lines: see _lines.pyi. */
static PyObject *reader_take(Reader *self, PyObject *args)
{
    PyObject *packets, *whole;
    Asked asked = {.sender = NULL};
    if (!PyArg_ParseTuple(args, "OOOOO:take", &packets, &asked.other, &asked.refused, &asked.sender_of, &whole))
        return NULL;
    packets = PySequence_Tuple(packets); /* nobody changes it meanwhile */
    if (packets == NULL)
        return NULL;
    Py_ssize_t lines = 0;
    for (Py_ssize_t i = 0; lines >= 0 && i < PyTuple_GET_SIZE(packets); i++) {
        Py_buffer packet;
        if (PyObject_GetBuffer(PyTuple_GET_ITEM(packets, i), &packet, PyBUF_SIMPLE) < 0) {
            lines = -1;
            break;
        }
        const Py_ssize_t some = take_packet(self, packet.buf, (size_t)packet.len, i, &asked, whole);
        lines = some < 0 ? -1 : lines + some;
        PyBuffer_Release(&packet);
    }
    Py_DECREF(packets);
    return lines < 0 ? NULL : PyLong_FromSsize_t(lines);
}

/* take_each(lines, other, refused, sender_of): lines that were taken apart before. */
static PyObject *reader_take_each(Reader *self, PyObject *args)
{
    PyObject *list;
    Asked asked = {.sender = NULL};
    if (!PyArg_ParseTuple(args, "OOOO:take_each", &list, &asked.other, &asked.refused, &asked.sender_of))
        return NULL;
    list = PySequence_Tuple(list);
    if (list == NULL)
        return NULL;
    int taken = 1;
    for (; taken >= 0 && asked.packet < PyTuple_GET_SIZE(list); asked.packet++) {
        char *p;
        Py_ssize_t size;
        int failed = bytes_of(PyTuple_GET_ITEM(list, asked.packet), &p, &size) < 0;
        taken = failed ? -1 : take_plain(self, p, p + size, &asked);
        if (taken == 0 && self->forms != NULL)
            taken = take_form(self, p, p + size);
        if (taken == 0 && ask_line(&asked, p, p + size) < 0)
            taken = -1;
        Py_CLEAR(asked.sender);
    }
    Py_DECREF(list);
    if (taken < 0)
        return NULL;
    Py_RETURN_NONE;
}

static PyMethodDef reader_methods[] = {
    {"welcome", (PyCFunction)reader_welcome, METH_VARARGS, "From here on new names are taken in: see _lines.pyi."},
    {"remember", (PyCFunction)reader_remember, METH_VARARGS, "A form of lines: see _lines.pyi."},
    {"point", (PyCFunction)reader_point, METH_VARARGS, "The tables that lines go to from here on."},
    {"take", (PyCFunction)reader_take, METH_VARARGS, "Packets: see _lines.pyi."},
#ifdef __linux__
    {"take_datagrams", (PyCFunction)reader_take_datagrams, METH_VARARGS, "What a socket received: see _lines.pyi."},
#endif
    {"take_each", (PyCFunction)reader_take_each, METH_VARARGS, "Lines: see _lines.pyi."},
    {NULL, NULL, 0, NULL},
};
static PyTypeObject ReaderType = {
    PyVarObject_HEAD_INIT(NULL, 0).tp_name = "brokersim.native._lines.Reader",
    .tp_basicsize = sizeof(Reader),
    .tp_dealloc = (destructor)reader_dealloc,
    .tp_flags = Py_TPFLAGS_DEFAULT,
    .tp_doc = "Takes plain lines of known names into tables.",
    .tp_new = reader_new,
    .tp_methods = reader_methods,
};

static PyMethodDef functions[] = {
    {"lines", (PyCFunction)lines_of, METH_VARARGS, "Text and number of lines: see _lines.pyi."},
    {"makers", (PyCFunction)makers_of, METH_VARARGS, "Who makes the series: see _lines.pyi."},
    {NULL, NULL, 0, NULL},
};
static struct PyModuleDef module = {PyModuleDef_HEAD_INIT, .m_name = "_lines", .m_size = -1, .m_methods = functions,
                                    .m_doc = "Plain statsd lines and what they add up to."};

PyMODINIT_FUNC PyInit__lines(void)
{
    PyObject *made = keys_seed() < 0 ? NULL : PyModule_Create(&module);
    if (made == NULL || PyModule_AddType(made, &NumbersType) < 0 || PyModule_AddType(made, &SamplesType) < 0 ||
        PyModule_AddType(made, &ReaderType) < 0) {
        Py_XDECREF(made);
        return NULL;
    }
#ifdef __linux__
    if (PyModule_AddType(made, &DatagramsType) < 0)
        Py_CLEAR(made);
#endif
    return made;
}
