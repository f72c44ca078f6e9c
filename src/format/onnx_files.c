/*
 * onnx_files.c — which files beside an exported graph hold data of its tensors. Their names are in the graph, wherever there
 * can be a tensor: the graph's own, a node's attribute, a graph within a node. All of them are found, also those that the
 * weights are not in, for ONNX Runtime reads them too, and the hash of the weights is over every file that decides a vector.
 *
 * Such a file lies in the graph's folder: a path that leads elsewhere is refused before anybody opens it.
 */
#include <stdlib.h>
#include <string.h>

#include "base/compiler.h"
#include "format/onnx_file.h"
#include "format/weights_build.h"

enum { DEPTH = 24 /* messages within messages: graphs in graphs, five deep */ };

enum kind { MODEL, GRAPH, NODE, ATTRIBUTE, TENSOR, SPARSE, FUNCTION, NOTHING };

/* Which fields of a message are messages that are looked into. */
static const struct {
    int kind;
    uint32_t field;
    int inside;
} ways[] = {
    {MODEL, 7, GRAPH},         {MODEL, 25, FUNCTION},   {GRAPH, 1, NODE},
    {GRAPH, 5, TENSOR},        {GRAPH, 15, SPARSE},     {NODE, 5, ATTRIBUTE},
    {ATTRIBUTE, 5, TENSOR},    {ATTRIBUTE, 6, GRAPH},   {ATTRIBUTE, 10, TENSOR},
    {ATTRIBUTE, 11, GRAPH},    {ATTRIBUTE, 22, SPARSE}, {ATTRIBUTE, 23, SPARSE},
    {SPARSE, 1, TENSOR},       {SPARSE, 2, TENSOR},     {FUNCTION, 7, NODE},
    {FUNCTION, 11, ATTRIBUTE},
};

static int inside_of(int kind, uint32_t number)
{
    for (size_t i = 0; i < QUERN__COUNT(ways); i++)
        if (ways[i].kind == kind && ways[i].field == number)
            return ways[i].inside;
    return NOTHING;
}

static int add_name(quern__weights_files *files, quern_str leaf, const quern__message *m)
{
    char name[QUERN__WEIGHTS_NAME];
    const char *graph = files->name[0], *slash = strrchr(graph, '/');
    const size_t front = slash ? (size_t)(slash - graph) + 1 : 0;
    if (!quern__weights_is_leaf(leaf) || front + leaf.len >= sizeof name)
        return quern__fail(
            m->err, QUERN_EUNSUPPORTED, (int64_t)m->at,
            "%s: a tensor's data is in \"%.*s\", at byte %zu: only a file beside the "
            "graph is read",
            m->f->name, (int)QUERN__MIN(leaf.len, (size_t)QUERN__SHOWN), leaf.ptr, m->at);
    memcpy(name, graph, front);
    memcpy(name + front, leaf.ptr, leaf.len);
    name[front + leaf.len] = '\0';
    if (strcmp(name, graph) == 0)
        return quern__fail(m->err, QUERN_EFORMAT, (int64_t)m->at,
                           "%s: a tensor's data is in the graph itself, at byte %zu", m->f->name,
                           m->at);
    for (uint32_t i = 1; i < files->n; i++)
        if (strcmp(files->name[i], name) == 0)
            return QUERN_OK;
    if (files->n == QUERN__WEIGHTS_FILES)
        return quern__fail(m->err, QUERN_EUNSUPPORTED, files->n,
                           "%s: its tensors are in more than %d files", m->f->name,
                           QUERN__WEIGHTS_FILES);
    memcpy(files->name[files->n++], name, sizeof name);
    return QUERN_OK;
}

/* A tensor's entry counts where the tensor says that its data is elsewhere. */
static int look(quern__message *m, int kind, int depth, quern__weights_files *files)
{
    quern__external place = {.location = {"", 0}};
    bool external = false;
    quern__field x;
    int more = 0, rc = QUERN_OK;
    if (depth == DEPTH)
        return quern__fail(m->err, QUERN_EFORMAT, (int64_t)m->at,
                           "%s: graphs within graphs, deeper than any encoder's, at byte %zu",
                           m->f->name, m->at);
    while (rc == QUERN_OK && (more = quern__next_field(m, &x)) == 1) {
        const int inner = inside_of(kind, x.number);
        quern__message part = {m->f, x.begin, x.begin + x.size, m->err};
        if (inner != NOTHING && x.wire == QUERN__BYTES)
            rc = look(&part, inner, depth + 1, files);
        else if (kind == TENSOR && x.number == 13)
            rc = quern__read_external(m, &x, &place);
        else if (kind == TENSOR && x.number == 14 && x.wire != QUERN__VARINT)
            rc = quern__fail(m->err, QUERN_EFORMAT, (int64_t)x.begin,
                             "%s: where a tensor's data is, said in another form than a number, "
                             "at byte %zu",
                             m->f->name, x.begin);
        else if (kind == TENSOR && x.number == 14)
            external = x.value != 0;
    }
    if (rc == QUERN_OK)
        rc = more;
    return rc == QUERN_OK && external ? add_name(files, place.location, m) : rc;
}

static int by_name(const void *a, const void *b)
{
    return strcmp(a, b);
}

int quern__onnx_files(quern__weights_files *files, const uint8_t *data, size_t size,
                      const char *name, quern_error *err)
{
    char graph[QUERN__WEIGHTS_NAME];
    const quern__onnx_file f = {.data = data, .size = size, .name = name};
    quern__message m = {&f, 0, size, err};
    memcpy(graph, files->name[0], sizeof graph);
    int rc = look(&m, MODEL, 0, files);
    if (rc)
        return rc;
    qsort(files->name, files->n, sizeof *files->name, by_name);
    for (uint32_t i = 0; i < files->n; i++)
        if (strcmp(files->name[i], graph) == 0)
            files->graph = i;
    return QUERN_OK;
}
