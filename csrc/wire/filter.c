#include "wire/filter.h"

#include <arpa/inet.h>

#include "wire/decode.h"

/* Codes of struct sock_filter (linux/bpf_common.h). A is the value loaded last. */
enum {
    LOAD_WORD = 0x20,
    COPY_TO_X = 0x07,
    JUMP_IF_EQUAL = 0x15,   /* A and the constant */
    JUMP_IF_EQUAL_X = 0x1d, /* A and X */
    RETURN = 0x06,
};

/* The rule begins here: which events of a kind the mask selects, whether those of threads
 * pass, and which task an event belongs to. The BPF program and procconn_filter_matches
 * follow from these. */

enum selection { NO_EVENTS, FAILED_EXITS, ALL_EVENTS };

static enum selection select_events(const struct procconn_filter *filter, uint32_t what)
{
    if ((filter->mask & what) != 0)
        return ALL_EVENTS;
    if (what == PROCCONN_EXIT && (filter->mask & PROCCONN_NONZERO_EXIT) != 0)
        return FAILED_EXITS;
    return NO_EVENTS;
}

static bool passes_threads(const struct procconn_filter *filter, uint32_t what)
{
    return (filter->thread_mask & what) != 0;
}

/* The offset of a u32 field in the datagram. */
static uint32_t word_at(size_t word)
{
    return EVENT_DATA_AT + (uint32_t)word * WORD_SIZE;
}

/* Whether the mask has all known kinds: unknown ones then pass as well. */
static bool has_all_kinds(uint32_t mask)
{
    for (unsigned bit = 0; bit < 32; bit++)
        if (procconn_kinds[bit].words != 0 && (mask >> bit & 1) == 0)
            return false;
    return true;
}

uint32_t procconn_filter_matches(const struct procconn_filter *filter, uint32_t what,
                                 uint32_t is_thread, uint32_t exit_code)
{
    enum selection selection = select_events(filter, what);

    if (procconn_kind_of(what) == NULL)
        return has_all_kinds(filter->mask);
    if (selection == NO_EVENTS || (selection == FAILED_EXITS && exit_code == 0))
        return 0;
    return !is_thread || passes_threads(filter, what);
}

bool procconn_filter_matches_event(const struct procconn_filter *filter,
                                   const struct procconn_event *event)
{
    size_t own = filter_own_word(event->what);
    bool is_thread = procconn_event_word(event, own) != procconn_event_word(event, own + 1);

    return procconn_filter_matches(filter, event->what, is_thread,
                                   procconn_event_word(event, EXIT_CODE_WORD));
}

static void add(struct procconn_bpf *bpf, uint16_t code, uint32_t k)
{
    bpf->instructions[bpf->count++] = (struct procconn_instruction){.code = code, .k = k};
}

static void accept_all(struct procconn_bpf *bpf)
{
    add(bpf, RETURN, UINT32_MAX); /* all bytes of the datagram */
}

static void reject(struct procconn_bpf *bpf)
{
    add(bpf, RETURN, 0);
}

/* Begin a block that runs if the loaded word has this value, and is skipped otherwise. Words
 * are loaded as big-endian; datagrams are in native byte order. */
static size_t begin_if(struct procconn_bpf *bpf, uint32_t value)
{
    add(bpf, JUMP_IF_EQUAL, htonl(value));
    return bpf->count;
}

static void end_if(struct procconn_bpf *bpf, size_t begin)
{
    bpf->instructions[begin - 1].jump_false = (uint8_t)(bpf->count - begin);
}

static void reject_threads(struct procconn_bpf *bpf, uint32_t what)
{
    add(bpf, LOAD_WORD, word_at(filter_own_word(what)));
    add(bpf, COPY_TO_X, 0);
    add(bpf, LOAD_WORD, word_at(filter_own_word(what) + 1));
    add(bpf, JUMP_IF_EQUAL_X, 0);
    bpf->instructions[bpf->count - 1].jump_true = 1;
    reject(bpf);
}

/* Add the block of a kind; `what` is loaded. Kinds that the mask does not select are rejected at
 * the end. */
static void add_kind(struct procconn_bpf *bpf, const struct procconn_filter *filter, uint32_t what)
{
    enum selection selection = select_events(filter, what);
    size_t begin, success;

    if (selection == NO_EVENTS)
        return;
    begin = begin_if(bpf, what);
    if (selection == FAILED_EXITS) {
        add(bpf, LOAD_WORD, word_at(EXIT_CODE_WORD));
        success = begin_if(bpf, 0);
        reject(bpf);
        end_if(bpf, success);
    }
    if (!passes_threads(filter, what))
        reject_threads(bpf, what);
    accept_all(bpf);
    end_if(bpf, begin);
}

static void add_filter(struct procconn_bpf *bpf, const struct procconn_filter *filter)
{
    bool all_kinds = has_all_kinds(filter->mask);
    size_t begin;

    add(bpf, LOAD_WORD, EVENT_WHAT_AT);
    if (all_kinds) {
        begin = begin_if(bpf, PROCCONN_NONE);
        reject(bpf);
        end_if(bpf, begin);
    }
    if (!all_kinds || !has_all_kinds(filter->thread_mask))
        for (unsigned bit = 0; bit < 32; bit++)
            if (procconn_kinds[bit].words != 0)
                add_kind(bpf, filter, UINT32_C(1) << bit);
    if (all_kinds)
        accept_all(bpf);
    else
        reject(bpf);
}

void procconn_filter_build(const struct procconn_filter *filter, struct procconn_bpf *bpf)
{
    bpf->count = 0;
    add_filter(bpf, filter);
}

void procconn_filter_build_liveness(const struct procconn_filter *filter, uint32_t task,
                                    struct procconn_bpf *bpf)
{
    size_t begin, own;

    bpf->count = 0;
    add(bpf, LOAD_WORD, EVENT_WHAT_AT);
    begin = begin_if(bpf, PROCCONN_COMM);
    add(bpf, LOAD_WORD, word_at(0));
    own = begin_if(bpf, task);
    accept_all(bpf);
    end_if(bpf, own);
    end_if(bpf, begin);
    add_filter(bpf, filter);
}

void procconn_filter_build_acknowledgements(struct procconn_bpf *bpf)
{
    size_t begin;

    bpf->count = 0;
    add(bpf, LOAD_WORD, EVENT_WHAT_AT);
    begin = begin_if(bpf, PROCCONN_NONE);
    accept_all(bpf);
    end_if(bpf, begin);
    reject(bpf);
}
