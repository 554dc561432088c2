/* Finds a value in JSON text without copying or building anything. The text
 * comes from the host, which has parsed it: it is well formed. */
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

struct text {
    const uint8_t *ptr;
    size_t len; /* 0: there is nothing */
};

static const uint8_t *json_space(const uint8_t *p, const uint8_t *end) {
    while (p < end && (*p == ' ' || *p == '\t' || *p == '\n' || *p == '\r' || *p == ',' || *p == ':')) p++;
    return p;
}

/* `p` is at the opening quote; returns what follows the closing one. */
static const uint8_t *json_skip_string(const uint8_t *p, const uint8_t *end) {
    for (p++; p < end; p++) {
        if (*p == '\\') p++;
        else if (*p == '"') return p + 1;
    }
    return end;
}

static const uint8_t *json_skip_value(const uint8_t *p, const uint8_t *end) {
    size_t depth = 0;
    while (p < end) {
        if (*p == '"') {
            p = json_skip_string(p, end);
        } else if (*p == '{' || *p == '[') {
            depth++, p++;
            continue;
        } else if (*p == '}' || *p == ']') {
            if (depth == 0) return p;
            depth--, p++;
        } else if (depth == 0 && (*p == ',' || *p == ' ')) {
            return p;
        } else {
            p++;
            continue; /* inside of a number or a word */
        }
        if (depth == 0) return p;
    }
    return end;
}

/* The value of an object's member; nothing if there is none. */
static struct text json_member(struct text object, const char *key) {
    const uint8_t *p = object.ptr, *end = p + object.len;
    size_t length = strlen(key);
    if (object.len == 0 || *p != '{') return (struct text){0};
    for (p = json_space(p + 1, end); p < end && *p == '"'; p = json_space(p, end)) {
        const uint8_t *name = p + 1;
        p = json_skip_string(p, end);
        bool found = (size_t)(p - 1 - name) == length && memcmp(name, key, length) == 0;
        const uint8_t *value = json_space(p, end);
        p = json_skip_value(value, end);
        if (found) return (struct text){value, (size_t)(p - value)};
    }
    return (struct text){0};
}
