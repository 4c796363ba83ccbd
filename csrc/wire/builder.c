#include "wire/builder.h"

#include <string.h>

uint64_t procconn_hash(const uint8_t *bytes, size_t size, uint64_t seed)
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

void procconn_draft_clear(struct draft *draft)
{
    draft->header = (struct program_header){.magic = PROGRAM_MAGIC, .version = PROGRAM_VERSION};
    memset(draft->header.ids, 0xFF, sizeof draft->header.ids);
    memset(draft->header.sizes, 0xFF, sizeof draft->header.sizes);
    draft->size = sizeof draft->header;
}

void procconn_draft_keep(struct draft *draft, int text, ssize_t size)
{
    if (size < 0 || size > (text == ARGV_TEXT ? PROGRAM_MOST_ARGV : PROGRAM_MOST_TEXT))
        return;
    draft->header.sizes[text] = (uint16_t)size;
    draft->size += (size_t)size;
}

void procconn_draft_note(struct draft *draft, enum procconn_missing missing)
{
    if (draft->missing == PROCCONN_COMPLETE || missing < draft->missing)
        draft->missing = missing;
}

void procconn_draft_shorten(struct draft *draft, int text, size_t size)
{
    size_t at = sizeof draft->header + size, less = draft->header.sizes[text] - size;

    for (int i = 0; i < text; i++)
        if (draft->header.sizes[i] != PROGRAM_ABSENT)
            at += draft->header.sizes[i];
    draft->size -= less;
    memmove(draft->tail + at, draft->tail + at + less, draft->size - at);
    draft->header.sizes[text] = (uint16_t)size;
}

void procconn_draft_drop(struct draft *draft, int text)
{
    if (draft->header.sizes[text] == PROGRAM_ABSENT)
        return;
    procconn_draft_shorten(draft, text, 0);
    draft->header.sizes[text] = PROGRAM_ABSENT;
}

size_t procconn_draft_finish(struct draft *draft)
{
    draft->header.flags &= PROGRAM_CUT;
    draft->header.flags |= (uint16_t)(draft->missing << PROGRAM_MISSING_SHIFT);
    memcpy(draft->tail, &draft->header, sizeof draft->header);
    return draft->size;
}

void procconn_draft_resume(struct draft *draft, uint8_t *tail, size_t size)
{
    *draft = (struct draft){.tail = tail, .size = size};
    memcpy(&draft->header, tail, sizeof draft->header);
    draft->missing = (enum procconn_missing)(draft->header.flags >> PROGRAM_MISSING_SHIFT &
                                             PROGRAM_MISSING_MASK);
}

size_t procconn_blank_tail(uint8_t *tail, enum procconn_missing missing)
{
    struct draft draft = {.tail = tail, .missing = missing};

    procconn_draft_clear(&draft);
    return procconn_draft_finish(&draft);
}
