/* Memory, in as little code as it takes: blocks of 2^n bytes, one list of free
 * blocks per size. Nothing is given back to the host, nothing is lost: a block
 * that is freed serves the next call. */

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#define SMALLEST 4 /* 2^4 bytes, header included */
#define LARGEST 26 /* 64 MiB, which is the whole of what a plugin gets */
#define PAGE 65536u

struct block {
    size_t shift;       /* the block has 2^shift bytes */
    struct block *next; /* when free; the user's bytes start here otherwise */
};

#define HEADER 8 /* keeps what the user gets aligned to 8 bytes */

extern uint8_t __heap_base;
static uint8_t *top, *end;
static struct block *free_blocks[LARGEST + 1];

void *malloc(size_t size) {
    size_t shift = SMALLEST;
    while (((size_t)1 << shift) < size + HEADER)
        if (size > (size_t)1 << LARGEST || ++shift > LARGEST) abort();
    struct block *block = free_blocks[shift];
    if (block) {
        free_blocks[shift] = block->next;
    } else {
        size_t bytes = (size_t)1 << shift;
        if (!top) {
            top = (uint8_t *)(((uintptr_t)&__heap_base + 15) & ~(uintptr_t)15);
            end = (uint8_t *)(__builtin_wasm_memory_size(0) * (uintptr_t)PAGE);
        }
        if ((size_t)(end - top) < bytes) {
            size_t pages = (bytes - (size_t)(end - top) + PAGE - 1) / PAGE;
            if (__builtin_wasm_memory_grow(0, pages) == SIZE_MAX) abort();
            end += pages * PAGE;
        }
        block = (struct block *)top;
        top += bytes;
        block->shift = shift;
    }
    return (uint8_t *)block + HEADER;
}

void free(void *user) {
    if (!user) return;
    struct block *block = (struct block *)((uint8_t *)user - HEADER);
    block->next = free_blocks[block->shift];
    free_blocks[block->shift] = block;
}

void *realloc(void *old, size_t size) {
    if (!old) return malloc(size);
    size_t room = ((size_t)1 << ((struct block *)((uint8_t *)old - HEADER))->shift) - HEADER;
    if (size <= room) return old;
    void *new = malloc(size);
    memcpy(new, old, room);
    free(old);
    return new;
}

_Noreturn void abort(void) { __builtin_trap(); }

void *memcpy(void *to, const void *from, size_t size) {
    uint8_t *t = to;
    const uint8_t *f = from;
    while (size--) *t++ = *f++;
    return to;
}

void *memset(void *to, int value, size_t size) {
    uint8_t *t = to;
    while (size--) *t++ = (uint8_t)value;
    return to;
}

int memcmp(const void *a, const void *b, size_t size) {
    const uint8_t *x = a, *y = b;
    for (; size; size--, x++, y++)
        if (*x != *y) return *x < *y ? -1 : 1;
    return 0;
}

size_t strlen(const char *text) {
    const char *end = text;
    while (*end) end++;
    return (size_t)(end - text);
}

/* The bindings refer to an object file with the interface's description; here
 * `wasm-tools component embed` adds it instead, straight from wit/. */
void __component_type_object_force_link_scheduler_extension_plugin(void) {}
