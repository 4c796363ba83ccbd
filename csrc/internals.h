/* The inner functions that tests call: the declarations their Python sees. */
#ifndef PROCCONN_INTERNALS_H
#define PROCCONN_INTERNALS_H

#include "procconn.h"

#include "internals.cdef"

#endif
