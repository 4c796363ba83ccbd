/* Declarations shared between folders, which tests use too. */
#ifndef PROCCONN_INTERNALS_H
#define PROCCONN_INTERNALS_H

#include "procconn.h"

#include "internals.cdef"

#endif
