/* Knows how C reads and writes the slots of our Python classes. Not what is in them.
 *
 * A class with __slots__ keeps each field at an offset that its member descriptor tells; msgspec's structs are made the
 * same way. Offsets are asked for once a class (`take_over`), and hold for its subclasses, too. So the classes stay
 * Python's, with all their other methods, and C needs no copy of their layout.
 *
 * Rules: a field is read as a borrowed reference, which is dropped as soon as Python code may run, or made one's own
 * before. Whatever comes from outside is checked for its type before its slots are touched: `is_a`.
 */
#ifndef BROKERSIM_SLOTS_H
#define BROKERSIM_SLOTS_H

#define PY_SSIZE_T_CLEAN
#include <Python.h>
#include <structmember.h>

typedef struct {
    const char *name;
    Py_ssize_t *offset;
} Slot;

/* A field as it stands: borrowed, NULL where it was never set. */
#define FIELD(object, offset) (*(PyObject **)((char *)(object) + (offset)))

/* Is it of that class, or of one below? False for every class not yet taken over. Along the bases that decide the layout,
 * which is what matters, and cheaper than a walk of the whole resolution order. */
static inline int is_a(PyObject *object, PyTypeObject *type)
{
    PyTypeObject *at = Py_TYPE(object);
    while (at != type && at != NULL)
        at = at->tp_base;
    return at != NULL && type != NULL;
}

static inline void put(PyObject *object, Py_ssize_t offset, PyObject *value) /* takes the reference */
{
    PyObject *before = FIELD(object, offset);
    FIELD(object, offset) = value;
    Py_XDECREF(before);
}

static inline void set(PyObject *object, Py_ssize_t offset, PyObject *value) /* makes its own */
{
    Py_INCREF(value);
    put(object, offset, value);
}

/* A field that has to be there. Borrowed; NULL with AttributeError. */
static inline PyObject *have(PyObject *object, Py_ssize_t offset)
{
    PyObject *value = FIELD(object, offset);
    if (value == NULL)
        PyErr_Format(PyExc_AttributeError, "%s lacks a field that its class sets at its start", Py_TYPE(object)->tp_name);
    return value;
}

/* Learn where a class keeps the slots of a table that ends with a NULL. -1 with TypeError if one is not a slot. */
static int learn_slots(PyTypeObject *type, const Slot *slots)
{
    for (; slots->name != NULL; slots++) {
        PyObject *found = PyObject_GetAttrString((PyObject *)type, slots->name);
        if (found == NULL) {
            PyErr_Clear();
            PyErr_Format(PyExc_TypeError, "%s has no slot '%s'", type->tp_name, slots->name);
            return -1;
        }
        Py_ssize_t offset = -1;
        if (Py_IS_TYPE(found, &PyMemberDescr_Type) && ((PyMemberDescrObject *)found)->d_member->type == T_OBJECT_EX)
            offset = ((PyMemberDescrObject *)found)->d_member->offset;
        Py_DECREF(found);
        if (offset < (Py_ssize_t)sizeof(PyObject)
            || offset + (Py_ssize_t)sizeof(PyObject *) > type->tp_basicsize) {
            PyErr_Format(PyExc_TypeError, "'%s' of %s is no slot", slots->name, type->tp_name);
            return -1;
        }
        *slots->offset = offset;
    }
    return 0;
}

/* What help() tells of a twin: its signature, which the table has, and the docstring of the Python it stands for. Kept
 * for good, as CPython's own are. -1 with an error set. */
static int take_docstring(PyObject *python, PyMethodDef *method)
{
    PyObject *doc = PyObject_GetAttrString(python, "__doc__"); /* ours all have one */
    PyObject *text = doc == NULL ? NULL : PyUnicode_FromFormat("%s%s\n--\n\n%S", method->ml_name, method->ml_doc, doc);
    const char *told = text == NULL ? NULL : PyUnicode_AsUTF8(text);
    char *kept = told == NULL ? NULL : PyMem_Malloc(strlen(told) + 1);
    if (kept != NULL)
        method->ml_doc = strcpy(kept, told);
    else if (told != NULL)
        PyErr_NoMemory();
    Py_XDECREF(doc);
    Py_XDECREF(text);
    return kept == NULL ? -1 : 0;
}

/* A function in C, and where the Python it stands for is kept if C leaves some of the work to that. */
typedef struct {
    PyMethodDef method;
    PyObject **python;
} Twin;

/* A twin takes the docstring of what it stands for, and keeps that where it is wanted. */
static int stand_for(PyObject *python, Twin *twin)
{
    if (take_docstring(python, &twin->method) < 0)
        return -1;
    if (twin->python != NULL)
        Py_XSETREF(*twin->python, Py_NewRef(python));
    return 0;
}

/* Exchange a class's methods for those of a table that ends with a NULL. They are made for this class: called on anything
 * else, they raise TypeError by themselves. */
static int exchange_methods(PyTypeObject *type, Twin *twins)
{
    for (; twins->method.ml_name != NULL; twins++) {
        PyObject *python = PyObject_GetAttrString((PyObject *)type, twins->method.ml_name);
        int stands = python == NULL ? -1 : stand_for(python, twins);
        Py_XDECREF(python);
        if (stands < 0)
            return -1;
        PyObject *twin = PyDescr_NewMethod(type, &twins->method);
        if (twin == NULL || PyObject_SetAttrString((PyObject *)type, twins->method.ml_name, twin) < 0) {
            Py_XDECREF(twin);
            return -1;
        }
        Py_DECREF(twin);
    }
    return 0;
}

#endif
