/* Functions between the folders that tests call, too. */
#ifndef PROCCONN_INTERNALS_H
#define PROCCONN_INTERNALS_H

#include "procconn.h"

#include "internals.cdef"

#endif
