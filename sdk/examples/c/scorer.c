/* A scheduler extension in C: pods go to nodes with the disk they ask for, and
 * batch pods keep off nodes that do not take them.
 *
 * What a plugin implements are the functions of its world; the declarations in
 * bindings/ are generated from wit/. What comes in as an argument belongs to
 * the plugin, what goes out is freed by the bindings. */

#include "bindings/scheduler_extension_plugin.h"
#include "json.h"
#include <stdlib.h>
#include <string.h>

#define POD_DISK "example.pintle.dev/disktype"
#define NODE_DISK "disktype"
#define NODE_NO_BATCH "example.pintle.dev/no-batch"
#define REASON "node(s) take no batch pods"

typedef scheduler_extension_plugin_string_t string;

/* What is kept of a node: a copy of one label, and the answer to another. */
struct node {
    struct text disk;
    bool no_batch;
};

/* By node number. */
static struct node *nodes;
static size_t node_count;

static _Noreturn void give_up(const char *message) {
    string text;
    scheduler_extension_plugin_string_set(&text, message);
    pintle_plugin_log_log(PINTLE_PLUGIN_LOG_LEVEL_ERROR, &text);
    abort();
}

static struct text labels(const pintle_plugin_types_object_t *object) {
    struct text json = {object->json.ptr, object->json.len};
    return json_member(json_member(json, "metadata"), "labels");
}

/* A label's text, without quotes. Labels have no characters that JSON escapes. */
static struct text label(struct text labels, const char *key) {
    struct text value = json_member(labels, key);
    if (value.len == 0) return value;
    if (*value.ptr != '"') give_up("a label is not a string");
    return (struct text){value.ptr + 1, value.len - 2};
}

static bool equal(struct text a, struct text b) { return a.len == b.len && memcmp(a.ptr, b.ptr, a.len) == 0; }

static bool is_true(struct text text) { return equal(text, (struct text){(const uint8_t *)"true", 4}); }

static string *strings(size_t count, const char *const *texts) {
    string *list = malloc(count * sizeof *list);
    for (size_t i = 0; i < count; i++) scheduler_extension_plugin_string_dup(&list[i], texts[i]);
    return list;
}

bool exports_pintle_plugin_scheduler_extension_describe(scheduler_extension_plugin_list_u8_t *config,
                                                        exports_pintle_plugin_scheduler_extension_description_t *ret,
                                                        string *err) {
    bool empty = config->len == 2 && memcmp(config->ptr, "{}", 2) == 0;
    scheduler_extension_plugin_list_u8_free(config);
    if (!empty) {
        scheduler_extension_plugin_string_dup(err, "c-scorer has no configuration");
        return false;
    }
    *ret = (exports_pintle_plugin_scheduler_extension_description_t){0};
    scheduler_extension_plugin_string_dup(&ret->manifest.name, "c-scorer");
    scheduler_extension_plugin_string_dup(&ret->manifest.version, "0.1.0");
    pintle_plugin_types_grant_t *need = malloc(sizeof *need);
    *need = (pintle_plugin_types_grant_t){0};
    scheduler_extension_plugin_string_dup(&need->kind.version, "v1");
    scheduler_extension_plugin_string_dup(&need->kind.kind, "Node");
    need->verbs.ptr = strings(1, (const char *[]){"watch"});
    need->verbs.len = 1;
    scheduler_extension_plugin_string_dup(&need->reason, "the rule looks at the labels of nodes");
    ret->manifest.needs.ptr = need;
    ret->manifest.needs.len = 1;
    ret->abilities = EXPORTS_PINTLE_PLUGIN_SCHEDULER_EXTENSION_ABILITY_FILTER |
                     EXPORTS_PINTLE_PLUGIN_SCHEDULER_EXTENSION_ABILITY_SCORE;
    ret->pod_fields.ptr = strings(1, (const char *[]){"metadata.labels"});
    ret->pod_fields.len = 1;
    return true;
}

static struct node *slot(uint32_t number) {
    if (number >= node_count) {
        nodes = realloc(nodes, (number + 1) * sizeof *nodes);
        while (node_count <= number) nodes[node_count++] = (struct node){0};
    }
    return &nodes[number];
}

void exports_pintle_plugin_scheduler_extension_sync_nodes(
    exports_pintle_plugin_scheduler_extension_list_numbered_node_t *list) {
    for (size_t i = 0; i < list->len; i++) {
        struct node *node = slot(list->ptr[i].number);
        free((void *)node->disk.ptr);
        *node = (struct node){0};
        if (!list->ptr[i].node.is_some) continue;
        struct text found = labels(&list->ptr[i].node.val);
        struct text disk = label(found, NODE_DISK);
        if (disk.len > 0) node->disk = (struct text){memcpy(malloc(disk.len), disk.ptr, disk.len), disk.len};
        node->no_batch = is_true(label(found, NODE_NO_BATCH));
    }
    exports_pintle_plugin_scheduler_extension_list_numbered_node_free(list);
}

void exports_pintle_plugin_scheduler_extension_sync(exports_pintle_plugin_scheduler_extension_list_delta_t *deltas) {
    exports_pintle_plugin_scheduler_extension_list_delta_free(deltas);
}

void exports_pintle_plugin_scheduler_extension_filter(
    exports_pintle_plugin_scheduler_extension_context_t *context,
    exports_pintle_plugin_scheduler_extension_object_t *pod,
    exports_pintle_plugin_scheduler_extension_list_rejection_t *ret) {
    (void)context;
    bool batch = is_true(label(labels(pod), "batch"));
    exports_pintle_plugin_scheduler_extension_object_free(pod);
    *ret = (exports_pintle_plugin_scheduler_extension_list_rejection_t){0};
    if (!batch || node_count == 0) return;
    uint32_t *numbers = malloc(node_count * sizeof *numbers);
    size_t count = 0;
    for (size_t i = 0; i < node_count; i++)
        if (nodes[i].no_batch) numbers[count++] = (uint32_t)i;
    if (count == 0) {
        free(numbers);
        return;
    }
    ret->ptr = malloc(sizeof *ret->ptr);
    ret->len = 1;
    scheduler_extension_plugin_string_dup(&ret->ptr->reason, REASON);
    ret->ptr->nodes.ptr = numbers;
    ret->ptr->nodes.len = count;
}

void exports_pintle_plugin_scheduler_extension_score(exports_pintle_plugin_scheduler_extension_context_t *context,
                                                     exports_pintle_plugin_scheduler_extension_object_t *pod,
                                                     scheduler_extension_plugin_list_u8_t *ret) {
    (void)context;
    struct text wanted = label(labels(pod), POD_DISK);
    *ret = (scheduler_extension_plugin_list_u8_t){0};
    if (wanted.len > 0 && node_count > 0) {
        ret->ptr = malloc(node_count);
        ret->len = node_count;
        for (size_t i = 0; i < node_count; i++) ret->ptr[i] = equal(nodes[i].disk, wanted) ? 100 : 0;
    }
    exports_pintle_plugin_scheduler_extension_object_free(pod);
}
