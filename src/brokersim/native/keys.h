/* Knows keys: bytes in the order they came, found by a hash table. Not what is kept of them.
 *
 * Several tables may share one set of keys: it only grows. Whoever lost keys makes itself a set of its own (keys_clone).
 */
#ifndef BROKERSIM_KEYS_H
#define BROKERSIM_KEYS_H

#define PY_SSIZE_T_CLEAN
#include <Python.h>
#include <stdint.h>
#include <string.h>

#define NO_ROW UINT32_MAX
#define REFUSED (UINT32_MAX - 1)
#define MOST_ROWS (UINT32_MAX / 4)
/* In `size`: not every byte is a letter, digit or one of _ . = - */
#define ODD 0x80000000u
#define SIZE_OF(row) ((row)->size & ~ODD)

typedef struct {
    uint64_t hash; /* the upper half is compared, the lower finds the slot */
    uint32_t start; /* in the arena */
    uint32_t size;
} Row;

typedef struct {
    uint32_t place; /* the row and one; 0: free, so that memory fresh from the kernel is a table of free slots */
    uint32_t hash;
} Slot;

typedef struct {
    Py_ssize_t users;
    char *arena;
    size_t used, room;
    Row *rows;
    uint32_t n, row_room;
    Slot *slots;
    uint32_t mask; /* slots - 1; at most two thirds of them are taken */
    /* A table that is full goes over to one twice as large a few rows at each new key: all at once, a million take 0.1 s.
     * Until then the rows from `moved` to `to_move` are only in the old one. */
    Slot *old;
    uint32_t old_mask, moved, to_move;
} Keys;

static uint64_t seed;

/* Hash tables that strangers fill are seeded: else they choose names that all meet in one place. */
static int keys_seed(void)
{
    PyObject *word = PyUnicode_FromString("names that strangers choose"), *other = PyUnicode_FromString("are seeded");
    if (word != NULL && other != NULL)
        seed = (uint64_t)PyObject_Hash(word) * 0x9E3779B97F4A7C15u ^ (uint64_t)PyObject_Hash(other);
    Py_XDECREF(word);
    Py_XDECREF(other);
    return PyErr_Occurred() ? -1 : 0;
}

static inline uint64_t mixed(uint64_t a, uint64_t b)
{
    __uint128_t product = (__uint128_t)a * b;
    return (uint64_t)product ^ (uint64_t)(product >> 64);
}

static inline uint64_t word_at(const char *p)
{
    uint64_t word;
    memcpy(&word, p, 8);
    return word;
}

static inline uint64_t hash_of(const char *p, size_t size)
{
    uint64_t h = seed ^ (uint64_t)size * 0x9E3779B97F4A7C15u;
    if (size >= 8) {
        const char *last = p + size - 8;
        for (; p < last; p += 8)
            h = mixed(h ^ word_at(p), 0xD6E8FEB86659FD93u);
        return mixed(h ^ word_at(last), 0xA0761D6478BD642Fu);
    }
    uint64_t word = 0;
    for (size_t i = 0; i < size; i++)
        word = word << 8 | (unsigned char)p[i];
    return mixed(h ^ word, 0xA0761D6478BD642Fu);
}

static inline int is_same(const char *a, const char *b, size_t size)
{
    if (size < 8)
        return memcmp(a, b, size) == 0;
    size_t at = 0;
    for (; at + 8 < size; at += 8)
        if (word_at(a + at) != word_at(b + at))
            return 0;
    return word_at(a + size - 8) == word_at(b + size - 8);
}

static inline uint32_t keys_find_in(const Keys *keys, const Slot *slots, uint32_t mask, const char *p, size_t size, uint64_t hash)
{
    const uint32_t upper = (uint32_t)(hash >> 32);
    for (uint32_t at = (uint32_t)hash & mask;; at = (at + 1) & mask) {
        const Slot *slot = &slots[at];
        if (slot->place == 0)
            return NO_ROW;
        if (slot->hash == upper) {
            const Row *row = &keys->rows[slot->place - 1];
            if (SIZE_OF(row) == size && is_same(keys->arena + row->start, p, size))
                return slot->place - 1;
        }
    }
}

static inline uint32_t keys_find(const Keys *keys, const char *p, size_t size, uint64_t hash)
{
    const uint32_t row = keys_find_in(keys, keys->slots, keys->mask, p, size, hash);
    return row != NO_ROW || keys->old == NULL ? row : keys_find_in(keys, keys->old, keys->old_mask, p, size, hash);
}

static void keys_drop(Keys *keys)
{
    if (keys != NULL && --keys->users == 0) {
        PyMem_Free(keys->arena);
        PyMem_Free(keys->rows);
        PyMem_RawFree(keys->slots);
        PyMem_RawFree(keys->old);
        PyMem_Free(keys);
    }
}

static Keys *keys_new(uint32_t expected)
{
    uint32_t slots = 8;
    while (slots / 3 * 2 <= expected)
        slots *= 2;
    Keys *keys = PyMem_Calloc(1, sizeof(Keys));
    if (keys == NULL || (keys->slots = PyMem_RawCalloc(slots, sizeof(Slot))) == NULL) {
        PyMem_Free(keys);
        PyErr_NoMemory();
        return NULL;
    }
    keys->users = 1;
    keys->mask = slots - 1;
    return keys;
}

static inline void keys_settle(Keys *keys, uint32_t row, uint64_t hash)
{
    uint32_t at = (uint32_t)hash & keys->mask;
    while (keys->slots[at].place != 0)
        at = (at + 1) & keys->mask;
    keys->slots[at] = (Slot){row + 1, (uint32_t)(hash >> 32)};
}

/* Each new key moves as many: a table of 2/3 n slots is moved long before the next, of 4/3 n, is full. */
#define MOVED_AT_ONCE 4

static inline void keys_move(Keys *keys, uint32_t rows)
{
    uint32_t end = keys->to_move - keys->moved > rows ? keys->moved + rows : keys->to_move;
    for (; keys->moved < end; keys->moved++)
        keys_settle(keys, keys->moved, keys->rows[keys->moved].hash);
    if (end == keys->to_move) {
        PyMem_RawFree(keys->old);
        keys->old = NULL;
    }
}

static int keys_widen(Keys *keys) /* the slots, when they are full */
{
    const uint32_t mask = keys->mask * 2 + 1;
    Slot *slots = PyMem_RawCalloc(mask + (size_t)1, sizeof(Slot));
    if (slots == NULL) {
        PyErr_NoMemory();
        return -1;
    }
    if (keys->old != NULL) /* cannot be, but then nothing must be lost */
        keys_move(keys, keys->to_move);
    keys->old = keys->slots;
    keys->old_mask = keys->mask;
    keys->moved = 0;
    keys->to_move = keys->n;
    keys->slots = slots;
    keys->mask = mask;
    return 0;
}

static inline int is_plain(const char *p, size_t size)
{
    for (size_t i = 0; i < size; i++) {
        const unsigned char c = (unsigned char)p[i];
        if (!((c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '-' && c <= '9' && c != '/') || c == '_' || c == '='))
            return 0;
    }
    return size > 0;
}

static int grown(void **memory, size_t item, size_t wanted, size_t *room)
{
    size_t more = *room + *room / 8 + 64;
    if (more < wanted)
        more = wanted;
    void *there = PyMem_Realloc(*memory, more * item);
    if (there == NULL) {
        PyErr_NoMemory();
        return -1;
    }
    *memory = there;
    *room = more;
    return 0;
}

/* The row of a key that is not there yet; NO_ROW with an exception. */
static uint32_t keys_add(Keys *keys, const char *p, size_t size, uint64_t hash)
{
    if (size >= ODD || keys->used + size > UINT32_MAX || keys->n >= MOST_ROWS) {
        PyErr_SetString(PyExc_OverflowError, "too many keys, or too long a one");
        return NO_ROW;
    }
    if (keys->n >= keys->mask / 3 * 2 && keys_widen(keys) < 0)
        return NO_ROW;
    size_t row_room = keys->row_room;
    if (keys->n == keys->row_room && grown((void **)&keys->rows, sizeof(Row), keys->n + (size_t)1, &row_room) < 0)
        return NO_ROW;
    keys->row_room = (uint32_t)row_room;
    /* An empty key, too, lies in memory that is there. */
    if (keys->used + size >= keys->room && grown((void **)&keys->arena, 1, keys->used + size, &keys->room) < 0)
        return NO_ROW;
    memcpy(keys->arena + keys->used, p, size);
    keys->rows[keys->n] = (Row){hash, (uint32_t)keys->used, (uint32_t)size | (is_plain(p, size) ? 0 : ODD)};
    keys->used += size;
    keys_settle(keys, keys->n, hash);
    if (keys->old != NULL)
        keys_move(keys, MOVED_AT_ONCE);
    return keys->n++;
}

static inline PyObject *key_bytes(const Keys *keys, uint32_t row)
{
    return PyBytes_FromStringAndSize(keys->arena + keys->rows[row].start, SIZE_OF(&keys->rows[row]));
}

#endif
