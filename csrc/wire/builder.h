/* A program's tail while it is made. No system call. */
#ifndef PROCCONN_DRAFT_H
#define PROCCONN_DRAFT_H

#include <stdbool.h>
#include <sys/types.h>

#include "procconn.h"
#include "wire/wire.h"

/* Its texts are written one after the other, each where the draft ends. */
struct draft {
    uint8_t *tail;
    size_t size;
    struct program_header header;
    enum procconn_missing missing;
};

void procconn_draft_clear(struct draft *draft);

/* Keep the text that was written where the draft ends; not if it is too long, or was not
 * read, which is a size of -1. */
void procconn_draft_keep(struct draft *draft, int text, ssize_t size);

/* Say why something is absent, unless there is a reason that comes first. */
void procconn_draft_note(struct draft *draft, enum procconn_missing missing);

/* Leave out a text that was kept, or all of it but the first bytes. */
void procconn_draft_drop(struct draft *draft, int text);
void procconn_draft_shorten(struct draft *draft, int text, size_t size);

/* Write the header. Returns the size of the tail. */
size_t procconn_draft_finish(struct draft *draft);

/* Go on with a tail that was finished. */
void procconn_draft_resume(struct draft *draft, uint8_t *tail, size_t size);

/* Write the tail of which nothing is known. Returns its size. */
size_t procconn_blank_tail(uint8_t *tail, enum procconn_missing missing);

/* Equal bytes have the same. */
uint64_t procconn_hash(const uint8_t *bytes, size_t size, uint64_t seed);

#endif
