#include "wire/builder.h"

#include <string.h>

uint64_t builder_hash(const uint8_t *bytes, size_t size, uint64_t seed)
{
    uint64_t hash = seed ^ size, word;

    for (; size > 0; bytes += sizeof word, size -= sizeof word) {
        word = 0;
        if (size < sizeof word) {
            memcpy(&word, bytes, size);
            return (hash ^ word) * 0x9e3779b97f4a7c15;
        }
        memcpy(&word, bytes, sizeof word);
        hash = (hash ^ word) * 0x9e3779b97f4a7c15;
        hash ^= hash >> 32;
    }
    return hash;
}

void builder_clear(struct builder *builder)
{
    builder->header = (struct program_header){.magic = PROGRAM_MAGIC, .version = PROGRAM_VERSION};
    memset(builder->header.ids, 0xFF, sizeof builder->header.ids);
    memset(builder->header.sizes, 0xFF, sizeof builder->header.sizes);
    builder->size = sizeof builder->header;
}

void builder_keep(struct builder *builder, int text, ssize_t size)
{
    if (size < 0 || size > (text == ARGV_TEXT ? PROGRAM_MOST_ARGV : PROGRAM_MOST_TEXT))
        return;
    builder->header.sizes[text] = (uint16_t)size;
    builder->size += (size_t)size;
}

void builder_note(struct builder *builder, enum procconn_missing missing)
{
    if (builder->missing == PROCCONN_COMPLETE || missing < builder->missing)
        builder->missing = missing;
}

void builder_shorten(struct builder *builder, int text, size_t size)
{
    size_t at = sizeof builder->header + size, less = builder->header.sizes[text] - size;

    for (int i = 0; i < text; i++)
        if (builder->header.sizes[i] != PROGRAM_ABSENT)
            at += builder->header.sizes[i];
    builder->size -= less;
    memmove(builder->trailer + at, builder->trailer + at + less, builder->size - at);
    builder->header.sizes[text] = (uint16_t)size;
}

void builder_drop(struct builder *builder, int text)
{
    if (builder->header.sizes[text] == PROGRAM_ABSENT)
        return;
    builder_shorten(builder, text, 0);
    builder->header.sizes[text] = PROGRAM_ABSENT;
}

size_t builder_finish(struct builder *builder)
{
    builder->header.flags &= PROGRAM_CUT;
    builder->header.flags |= (uint16_t)(builder->missing << PROGRAM_MISSING_SHIFT);
    memcpy(builder->trailer, &builder->header, sizeof builder->header);
    return builder->size;
}

void builder_resume(struct builder *builder, uint8_t *trailer, size_t size)
{
    *builder = (struct builder){.trailer = trailer, .size = size};
    memcpy(&builder->header, trailer, sizeof builder->header);
    builder->missing = (enum procconn_missing)(builder->header.flags >> PROGRAM_MISSING_SHIFT &
                                               PROGRAM_MISSING_MASK);
}

size_t procconn_blank_trailer(uint8_t *trailer, enum procconn_missing missing)
{
    struct builder builder = {.trailer = trailer, .missing = missing};

    builder_clear(&builder);
    return builder_finish(&builder);
}
