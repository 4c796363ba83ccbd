/* Build a program's trailer. No system calls. */
#ifndef PROCCONN_BUILDER_H
#define PROCCONN_BUILDER_H

#include <stdbool.h>
#include <sys/types.h>

#include "procconn.h"
#include "wire/wire.h"

/* Texts are written one after the other, each at the end of the trailer so far. */
struct builder {
    uint8_t *trailer;
    size_t size;
    struct program_header header;
    enum procconn_missing missing;
};

void builder_clear(struct builder *builder);

/* Keep the text written at the end, unless it is too long or was not read (a size of -1). */
void builder_keep(struct builder *builder, int text, ssize_t size);

/* Note why a field is absent, unless a reason that precedes it in the enum is noted. */
void builder_note(struct builder *builder, enum procconn_missing missing);

/* Drop a text that was kept; or all of it but its first `size` bytes. */
void builder_drop(struct builder *builder, int text);
void builder_shorten(struct builder *builder, int text, size_t size);

/* Write the header. Returns the size of the trailer. */
size_t builder_finish(struct builder *builder);

/* Continue with a finished trailer. */
void builder_resume(struct builder *builder, uint8_t *trailer, size_t size);

/* Write a trailer without any field. Returns its size. */
size_t procconn_blank_trailer(uint8_t *trailer, enum procconn_missing missing);

/* Return a hash of the bytes. */
uint64_t builder_hash(const uint8_t *bytes, size_t size, uint64_t seed);

#endif
