/* The project's C functions: the declarations Python sees. */
#ifndef PROCCONN_H
#define PROCCONN_H

#include <stddef.h>
#include <stdint.h>

#include "procconn.cdef"

#endif
