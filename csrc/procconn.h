/* Declarations of the C functions that procconn's Python code calls. */
#ifndef PROCCONN_H
#define PROCCONN_H

#include <stddef.h>
#include <stdint.h>

#include "procconn.cdef"

#endif
