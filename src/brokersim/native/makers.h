/* Knows how keys are counted by how they begin and by who sent them first: the twin of brokersim/statsd/cardinality.py.
 *
 * Included by _lines.c, behind Numbers: a table of who sent each key first.
 */

#define MOST_TOP 100

typedef struct {
    Keys *keys;
    uint32_t *counts;
    size_t room;
} Prefixes;

static int prefixes_add(Prefixes *self, const char *p, size_t size)
{
    const uint64_t hash = hash_of(p, size);
    uint32_t row = keys_find(self->keys, p, size, hash);
    if (row == NO_ROW) {
        if (self->keys->n >= self->room &&
            grown((void **)&self->counts, sizeof(uint32_t), self->keys->n + (size_t)1, &self->room) < 0)
            return -1;
        if ((row = keys_add(self->keys, p, size, hash)) == NO_ROW)
            return -1;
        self->counts[row] = 0;
    }
    self->counts[row]++;
    return 0;
}

/* The name up to its first dot, and up to its second; tags are no part of it. */
static int prefixes_of(Prefixes *self, const char *p, size_t size)
{
    const char *tags = memchr(p, ';', size);
    const char *end = tags == NULL ? p + size : tags;
    const char *dot = p;
    for (int each = 0; each < 2; each++, dot++) {
        if ((dot = memchr(dot, '.', (size_t)(end - dot))) == NULL)
            return 0;
        if (prefixes_add(self, p, (size_t)(dot - p)) < 0)
            return -1;
    }
    return 0;
}

/* More keys first, then by name. */
static int comes_before(const Prefixes *self, uint32_t a, uint32_t b)
{
    if (self->counts[a] != self->counts[b])
        return self->counts[a] > self->counts[b];
    const Row *one = &self->keys->rows[a], *other = &self->keys->rows[b];
    const size_t sizes[] = {SIZE_OF(one), SIZE_OF(other)};
    const int way = memcmp(self->keys->arena + one->start, self->keys->arena + other->start, sizes[sizes[0] > sizes[1]]);
    return way != 0 ? way < 0 : sizes[0] < sizes[1];
}

static PyObject *prefixes_top(const Prefixes *self, int top)
{
    uint32_t best[MOST_TOP + 1];
    int n = 0;
    for (uint32_t row = 0; row < self->keys->n; row++) {
        if (n == top && !comes_before(self, row, best[n - 1]))
            continue;
        int at = n < top ? n++ : n - 1;
        for (; at > 0 && comes_before(self, row, best[at - 1]); at--)
            best[at] = best[at - 1];
        best[at] = row;
    }
    PyObject *list = PyList_New(0);
    for (int i = 0; list != NULL && i < n; i++) {
        PyObject *item = Py_BuildValue("(NI)", key_bytes(self->keys, best[i]), self->counts[best[i]]);
        if (item == NULL || PyList_Append(list, item) < 0)
            Py_CLEAR(list);
        Py_XDECREF(item);
    }
    return list;
}

static int add_to(PyObject *senders, PyObject *sender, unsigned long count)
{
    if (sender == NULL || sender == Py_None)
        return 0;
    PyObject *before = PyDict_GetItemWithError(senders, sender);
    if (before == NULL && PyErr_Occurred())
        return -1;
    PyObject *sum = PyLong_FromUnsignedLong(count + (before == NULL ? 0 : PyLong_AsUnsignedLong(before)));
    const int failed = sum == NULL || PyDict_SetItem(senders, sender, sum) < 0;
    Py_XDECREF(sum);
    return failed ? -1 : 0;
}

/* Counts a table; nothing of Python's runs but hashes of strings, so it cannot change meanwhile. */
static int makers_count(const Numbers *table, Prefixes *prefixes, PyObject *senders)
{
    PyObject *sender = NULL; /* of the rows before: most neighbours have one sender */
    unsigned long count = 0;
    for (uint32_t row = 0; row < table->n; row++) {
        if (table->tags[row] == DEAD)
            continue;
        const Row *key = &table->keys->rows[row];
        if (prefixes_of(prefixes, table->keys->arena + key->start, SIZE_OF(key)) < 0)
            return -1;
        PyObject *own = table->tags[row] == OTHER ? table->values[row].other : NULL;
        if (own != sender) {
            if (add_to(senders, sender, count) < 0)
                return -1;
            sender = own;
            count = 0;
        }
        count++;
    }
    return add_to(senders, sender, count);
}

/* makers(tables, top) -> (prefixes, senders): see _lines.pyi. */
static PyObject *makers_of(PyObject *module, PyObject *args)
{
    PyObject *tables;
    int top;
    if (!PyArg_ParseTuple(args, "O!i:makers", &PyTuple_Type, &tables, &top))
        return NULL;
    if (top < 1 || top > MOST_TOP)
        return PyErr_Format(PyExc_ValueError, "the first 1 to %d can be told, not %d", MOST_TOP, top);
    for (Py_ssize_t i = 0; i < PyTuple_GET_SIZE(tables); i++)
        if (!Py_IS_TYPE(PyTuple_GET_ITEM(tables, i), &NumbersType))
            return PyErr_Format(PyExc_TypeError, "tables of this module are counted");
    Prefixes prefixes = {.keys = keys_new(0)};
    PyObject *senders = PyDict_New(), *list = NULL;
    int failed = prefixes.keys == NULL || senders == NULL;
    for (Py_ssize_t i = 0; !failed && i < PyTuple_GET_SIZE(tables); i++)
        failed = makers_count((const Numbers *)PyTuple_GET_ITEM(tables, i), &prefixes, senders) < 0;
    if (!failed)
        list = prefixes_top(&prefixes, top);
    keys_drop(prefixes.keys);
    PyMem_Free(prefixes.counts);
    if (list == NULL) {
        Py_XDECREF(senders);
        return NULL;
    }
    return Py_BuildValue("(NN)", list, senders);
}
