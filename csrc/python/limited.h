/* Include Python.h with the stable ABI, for the files that create objects. */
#ifndef PROCCONN_LIMITED_H
#define PROCCONN_LIMITED_H

#include <pyconfig.h>
#ifndef Py_GIL_DISABLED /* free-threaded builds before 3.15 have no stable ABI */
#define Py_LIMITED_API 0x030b0000
#endif
#include <Python.h>

#endif
