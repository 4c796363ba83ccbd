/* A program's trailer while it is made. No system call. */
#ifndef PROCCONN_BUILDER_H
#define PROCCONN_BUILDER_H

#include <stdbool.h>
#include <sys/types.h>

#include "procconn.h"
#include "wire/wire.h"

/* Its texts are written one after the other, each where the builder ends. */
struct builder {
    uint8_t *trailer;
    size_t size;
    struct program_header header;
    enum procconn_missing missing;
};

void builder_clear(struct builder *builder);

/* Keep the text that was written where the builder ends; not if it is too long, or was not
 * read, which is a size of -1. */
void builder_keep(struct builder *builder, int text, ssize_t size);

/* Say why something is absent, unless there is a reason that comes first. */
void builder_note(struct builder *builder, enum procconn_missing missing);

/* Leave out a text that was kept, or all of it but the first bytes. */
void builder_drop(struct builder *builder, int text);
void builder_shorten(struct builder *builder, int text, size_t size);

/* Write the header. Returns the size of the trailer. */
size_t builder_finish(struct builder *builder);

/* Go on with a trailer that was finished. */
void builder_resume(struct builder *builder, uint8_t *trailer, size_t size);

/* Write the trailer of which nothing is known. Returns its size. */
size_t procconn_blank_trailer(uint8_t *trailer, enum procconn_missing missing);

/* Equal bytes have the same. */
uint64_t builder_hash(const uint8_t *bytes, size_t size, uint64_t seed);

#endif
