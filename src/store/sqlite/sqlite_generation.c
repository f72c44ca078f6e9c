/*
 * sqlite_generation.c — generations: one building and one active a source, kept so by two partial unique
 * indexes. Ids are counted in quern_meta and never used twice, because vectors and their refs carry them.
 */
#include "store/sqlite/sqlite_store.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/alloc.h"
#include "base/os.h"

static void copy_text(char *out, size_t size, quern_str from)
{
    size_t n = from.len < size - 1 ? from.len : size - 1;
    if (n)
        memcpy(out, from.ptr, n);
    out[n] = '\0';
}

#define COLUMNS                                                                                    \
    "g.id, g.state, g.fingerprint, g.model, g.vector_type, g.dimensions, g.created_ms,"            \
    " g.activated_ms, g.retired_ms, g.chunks"

static void read_generation(quern__stmt *stmt, quern_generation *out)
{
    memset(out, 0, sizeof *out);
    out->id = quern__db_get_int(stmt, 0);
    copy_text(out->state, sizeof out->state, quern__db_get_text(stmt, 1));
    copy_text(out->fingerprint, sizeof out->fingerprint, quern__db_get_text(stmt, 2));
    copy_text(out->model, sizeof out->model, quern__db_get_text(stmt, 3));
    copy_text(out->vector_type, sizeof out->vector_type, quern__db_get_text(stmt, 4));
    out->dimensions = (uint32_t)quern__db_get_int(stmt, 5);
    out->created_ms = quern__db_get_int(stmt, 6);
    out->activated_ms = quern__db_get_int(stmt, 7);
    out->retired_ms = quern__db_get_int(stmt, 8);
    out->chunks = (uint64_t)quern__db_get_int(stmt, 9);
}

int quern__sqlite_generation_find(void *self, const char *source, const char *state,
                                  quern_generation *out, quern_error *err)
{
    quern__sqlite *s = self;
    quern__stmt *stmt;
    int64_t id = 0;
    memset(out, 0, sizeof *out);
    int rc = quern__sqlite_source_id(s, source, &id, err);
    if (!rc)
        rc = quern__db_prepare(s->own,
                               "SELECT " COLUMNS
                               " FROM quern_generations AS g WHERE g.source = ?1 AND g.state = ?2"
                               " ORDER BY g.id DESC LIMIT 1",
                               &stmt, err);
    if (rc)
        return rc;
    quern__db_bind_int(s->own, stmt, 1, id);
    quern__db_bind_text(s->own, stmt, 2, quern_str_of(state));
    rc = quern__db_step(s->own, stmt, err);
    if (rc == 1)
        read_generation(stmt, out);
    quern__db_finish(s->own, stmt);
    if (rc == 0)
        return quern__fail(err, QUERN_ENOTFOUND, 0, "source '%s' has no %s generation", source,
                           state);
    return rc < 0 ? rc : QUERN_OK;
}

/* Read whole before any of it is told: no statement of ours is open while the callback works. */
typedef struct told {
    char source[64];
    quern_generation g;
} told;

int quern__sqlite_generation_each(void *self, const char *source, quern_generation_fn fn, void *ud,
                                  quern_error *err)
{
    quern__sqlite *s = self;
    quern__stmt *stmt;
    told *list = NULL;
    size_t n = 0, room = 0;
    int64_t id = 0;
    int rc = source ? quern__sqlite_source_id(s, source, &id, err) : QUERN_OK;
    if (!rc)
        rc = quern__db_prepare(
            s->own,
            "SELECT " COLUMNS ", s.name FROM quern_generations AS g JOIN quern_sources AS s"
            " ON s.id = g.source WHERE NOT s.dropped AND (?1 = 0 OR g.source = ?1) ORDER BY g.id",
            &stmt, err);
    if (rc)
        return rc;
    quern__db_bind_int(s->own, stmt, 1, id);
    while ((rc = quern__db_step(s->own, stmt, err)) == 1) {
        if (n == room) {
            room = room ? 2 * room : 16;
            told *more = quern__resize_array(list, room, sizeof *more);
            if (!more) {
                rc = quern__fail_memory(err, room * sizeof *more);
                break;
            }
            list = more;
        }
        read_generation(stmt, &list[n].g);
        copy_text(list[n].source, sizeof list[n].source, quern__db_get_text(stmt, 10));
        n++;
    }
    quern__db_finish(s->own, stmt);
    for (size_t i = 0; i < n && !rc; i++)
        rc = fn(list[i].source, &list[i].g, ud);
    quern__free(list);
    return rc;
}

static int insert_generation(quern__sqlite *s, int64_t source, const quern_generation *g,
                             const char *fingerprint_json, int64_t *id, quern_error *err)
{
    quern__stmt *stmt;
    int rc = quern__db_int(s->own,
                           "UPDATE quern_meta SET value = value + 1 WHERE name = 'next_generation' "
                           "RETURNING value - 1",
                           id, err);
    if (rc != 1)
        return rc < 0 ? rc
                      : quern__fail(err, QUERN_EFORMAT, 0, "quern_meta lacks 'next_generation'");
    rc = quern__db_prepare(
        s->own,
        "INSERT INTO quern_generations (id, source, state, fingerprint, fingerprint_json, model,"
        " vector_type, dimensions, created_ms) VALUES (?1, ?2, 'building', ?3, ?4, ?5, ?6, ?7, ?8)",
        &stmt, err);
    if (rc)
        return rc;
    quern__db_bind_int(s->own, stmt, 1, *id);
    quern__db_bind_int(s->own, stmt, 2, source);
    quern__db_bind_text(s->own, stmt, 3, quern_str_of(g->fingerprint));
    quern__db_bind_text(s->own, stmt, 4, quern_str_of(fingerprint_json));
    quern__db_bind_text(s->own, stmt, 5, quern_str_of(g->model));
    quern__db_bind_text(s->own, stmt, 6, quern_str_of(g->vector_type));
    quern__db_bind_int(s->own, stmt, 7, g->dimensions);
    quern__db_bind_int(s->own, stmt, 8, g->created_ms ? g->created_ms : quern__wall_ms());
    return quern__db_run(s->own, stmt, err);
}

int quern__sqlite_generation_build(void *self, const char *source, const quern_generation *g,
                                   const char *fingerprint_json, int64_t *id, quern_error *err)
{
    quern__sqlite *s = self;
    quern_generation there;
    int64_t source_id = 0;
    *id = 0;
    if (g->dimensions == 0 ||
        (strcmp(g->vector_type, "f16") != 0 && strcmp(g->vector_type, "f32") != 0))
        return quern__fail(err, QUERN_EINVAL, 0, "a generation of %u dimensions of type '%s'",
                           g->dimensions, g->vector_type);
    int rc = quern__db_begin(s->own, err);
    if (rc)
        return rc;
    rc = quern__sqlite_source_id(s, source, &source_id, err);
    if (!rc) {
        rc = quern__sqlite_generation_find(self, source, "building", &there, err);
        if (!rc)
            rc = quern__fail(err, QUERN_EEXISTS, there.id,
                             "source '%s' has a building generation already", source);
        else if (rc == QUERN_ENOTFOUND)
            rc = insert_generation(s, source_id, g, fingerprint_json, id, err);
    }
    if (!rc)
        return quern__db_commit(s->own, err);
    quern__db_rollback(s->own);
    return rc;
}

int quern__sqlite_generation_json(void *self, int64_t id, char **json, quern_error *err)
{
    quern__sqlite *s = self;
    quern__stmt *stmt;
    *json = NULL;
    int rc = quern__db_prepare(
        s->own, "SELECT fingerprint_json FROM quern_generations WHERE id = ?1", &stmt, err);
    if (rc)
        return rc;
    quern__db_bind_int(s->own, stmt, 1, id);
    rc = quern__db_step(s->own, stmt, err);
    if (rc == 1) {
        quern_str text = quern__db_get_text(stmt, 0);
        *json = quern__strndup(text.ptr ? text.ptr : "", text.len);
        rc = *json ? QUERN_OK : quern__fail_memory(err, text.len);
    } else if (rc == 0) {
        rc = quern__fail(err, QUERN_ENOTFOUND, id, "there is no generation %" PRId64, id);
    }
    quern__db_finish(s->own, stmt);
    return rc;
}

static int set_states(quern__sqlite *s, int64_t id, quern_error *err)
{
    quern__stmt *stmt;
    int rc = quern__db_prepare(
        s->own,
        "UPDATE quern_generations SET state = 'retired', retired_ms = ?2 WHERE state = 'active'"
        " AND source = (SELECT source FROM quern_generations WHERE id = ?1)",
        &stmt, err);
    if (rc)
        return rc;
    quern__db_bind_int(s->own, stmt, 1, id);
    quern__db_bind_int(s->own, stmt, 2, quern__wall_ms());
    rc = quern__db_run(s->own, stmt, err);
    if (!rc)
        rc = quern__db_prepare(
            s->own,
            "UPDATE quern_generations SET state = 'active', activated_ms = ?2 WHERE id = ?1", &stmt,
            err);
    if (rc)
        return rc;
    quern__db_bind_int(s->own, stmt, 1, id);
    quern__db_bind_int(s->own, stmt, 2, quern__wall_ms());
    return quern__db_run(s->own, stmt, err);
}

int quern__sqlite_generation_activate(void *self, int64_t id, quern_error *err)
{
    quern__sqlite *s = self;
    char state[12];
    size_t width;
    int rc = quern__db_begin(s->own, err);
    if (rc)
        return rc;
    rc = quern__sqlite_generation_width(s, id, &width, state, err);
    if (!rc && strcmp(state, "building") != 0)
        rc = quern__fail(err, QUERN_EMISMATCH, id,
                         "generation %" PRId64 " is %s; only a building one can be activated", id,
                         state);
    if (!rc)
        rc = set_states(s, id, err);
    if (!rc)
        return quern__db_commit(s->own, err);
    quern__db_rollback(s->own);
    return rc;
}

int quern__sqlite_generation_retire(void *self, int64_t id, quern_error *err)
{
    quern__sqlite *s = self;
    quern__stmt *stmt;
    char state[12];
    size_t width;
    int rc = quern__db_begin(s->own, err);
    if (rc)
        return rc;
    rc = quern__sqlite_generation_width(s, id, &width, state, err);
    if (!rc && strcmp(state, "retired") == 0)
        rc = quern__fail(err, QUERN_EMISMATCH, id, "generation %" PRId64 " is retired already", id);
    if (!rc)
        rc = quern__db_prepare(
            s->own, "UPDATE quern_generations SET state = 'retired', retired_ms = ?2 WHERE id = ?1",
            &stmt, err);
    if (!rc) {
        quern__db_bind_int(s->own, stmt, 1, id);
        quern__db_bind_int(s->own, stmt, 2, quern__wall_ms());
        rc = quern__db_run(s->own, stmt, err);
    }
    if (!rc)
        return quern__db_commit(s->own, err);
    quern__db_rollback(s->own);
    return rc;
}

/* A purge notes that there are no chunks before it takes the first. */
int quern__sqlite_generation_resume(void *self, int64_t id, quern_error *err)
{
    quern__sqlite *s = self;
    quern__stmt *stmt;
    char state[12];
    size_t width;
    int rc = quern__db_begin(s->own, err);
    if (rc)
        return rc;
    rc = quern__sqlite_generation_width(s, id, &width, state, err);
    if (!rc)
        rc = quern__db_prepare(
            s->own,
            "SELECT 1 FROM quern_generations WHERE state = 'building' AND source ="
            " (SELECT source FROM quern_generations WHERE id = ?1)",
            &stmt, err);
    if (!rc) {
        quern__db_bind_int(s->own, stmt, 1, id);
        rc = quern__db_step(s->own, stmt, err);
        quern__db_finish(s->own, stmt);
    }
    if (rc == 1 && strcmp(state, "retired") == 0)
        rc = quern__fail(err, QUERN_EEXISTS, id, "another generation is being built already");
    else if (rc >= 0)
        rc = quern__db_prepare(
            s->own,
            "UPDATE quern_generations SET state = 'building', activated_ms = 0, retired_ms = 0"
            " WHERE id = ?1 AND state = 'retired' AND chunks <> 0",
            &stmt, err);
    if (!rc) {
        quern__db_bind_int(s->own, stmt, 1, id);
        rc = quern__db_run(s->own, stmt, err);
    }
    if (!rc && quern__db_changes(s->own) == 0)
        rc = quern__fail(err, QUERN_EMISMATCH, id,
                         "generation %" PRId64 " is %s; only a retired one that still holds "
                         "vectors can be built on",
                         id, state);
    if (!rc)
        return quern__db_commit(s->own, err);
    quern__db_rollback(s->own);
    return rc;
}

int quern__sqlite_generation_width(quern__sqlite *s, int64_t id, size_t *bytes, char state[12],
                                   quern_error *err)
{
    quern__stmt *stmt;
    int rc =
        quern__db_prepare(s->own,
                          "SELECT dimensions * CASE vector_type WHEN 'f16' THEN 2 ELSE 4 END, state"
                          " FROM quern_generations WHERE id = ?1",
                          &stmt, err);
    if (rc)
        return rc;
    quern__db_bind_int(s->own, stmt, 1, id);
    rc = quern__db_step(s->own, stmt, err);
    if (rc == 1) {
        *bytes = (size_t)quern__db_get_int(stmt, 0);
        if (state)
            copy_text(state, 12, quern__db_get_text(stmt, 1));
    }
    quern__db_finish(s->own, stmt);
    if (rc == 0)
        return quern__fail(err, QUERN_ENOTFOUND, id, "there is no generation %" PRId64, id);
    return rc < 0 ? rc : QUERN_OK;
}

/* ---- purge ---- */

static int delete_some(quern__sqlite *s, const char *sql, int64_t a, int64_t b, int64_t *left,
                       quern_error *err)
{
    quern__stmt *stmt;
    int rc = quern__db_prepare(s->own, sql, &stmt, err);
    if (rc)
        return rc;
    quern__db_bind_int(s->own, stmt, 1, a);
    if (b)
        quern__db_bind_int(s->own, stmt, 2, b);
    rc = quern__db_run(s->own, stmt, err);
    *left = rc ? 0 : quern__db_changes(s->own);
    return rc;
}

/* Deletes a little of everything; *left: rows that went, 0 when nothing was left. */
static int purge_some(quern__sqlite *s, int64_t id, uint64_t began, int64_t *left, quern_error *err)
{
    int64_t first = id << QUERN__VECTOR_BITS, end = (id + 1) << QUERN__VECTOR_BITS, went = 0;
    *left = 0;
    int rc = delete_some(s,
                         "DELETE FROM quern_vectors WHERE id IN"
                         " (SELECT id FROM quern_vectors WHERE id >= ?1 AND id < ?2 LIMIT 200)",
                         first, end, &went, err);
    *left += went;
    if (!rc)
        rc = delete_some(s,
                         "DELETE FROM quern_chunks WHERE id IN"
                         " (SELECT id FROM quern_chunks WHERE id >= ?1 AND id < ?2 LIMIT 200)",
                         first, end, &went, err);
    *left += went;
    if (!rc)
        rc = delete_some(s,
                         "DELETE FROM quern_stamps WHERE generation = ?1 AND key IN"
                         " (SELECT key FROM quern_stamps WHERE generation = ?1 LIMIT 200)",
                         id, 0, &went, err);
    *left += went;
    if (!rc)
        rc = quern__sqlite_kept_some(s, id, began, &went, err);
    *left += went;
    bool texts = false;
    if (!rc)
        rc = quern__sqlite_text_there(s, &texts, err);
    if (rc || !texts)
        return rc;
    rc = delete_some(s,
                     "DELETE FROM quern_text WHERE rowid IN"
                     " (SELECT id FROM quern_texts WHERE id >= ?1 AND id < ?2 ORDER BY id LIMIT 5)",
                     first, end, &went, err);
    if (!rc)
        rc = delete_some(
            s,
            "DELETE FROM quern_texts WHERE id IN"
            " (SELECT id FROM quern_texts WHERE id >= ?1 AND id < ?2 ORDER BY id LIMIT 5)",
            first, end, &went, err);
    *left += went;
    return rc;
}

int quern__sqlite_purge_slice(quern__sqlite *s, int64_t id, int *more, quern_error *err)
{
    uint64_t began = quern__now_ns();
    int64_t left = 1, went;
    int rc = quern__db_begin(s->own, err);
    if (rc)
        return rc;
    /* from now on nothing is saved into it, whatever it was */
    rc = delete_some(s, "UPDATE quern_generations SET state = 'retired', chunks = 0 WHERE id = ?1",
                     id, 0, &went, err);
    while (!rc && left && quern__now_ns() - began < (uint64_t)QUERN__SLICE_MS * 1000000)
        rc = purge_some(s, id, began, &left, err);
    if (!rc && !left)
        rc = delete_some(s, "DELETE FROM quern_generations WHERE id = ?1", id, 0, &went, err);
    *more = left != 0;
    if (!rc)
        return quern__db_commit(s->own, err);
    quern__db_rollback(s->own);
    return rc;
}

int quern__sqlite_generation_purge(void *self, int64_t id, int *more, quern_error *err)
{
    quern__sqlite *s = self;
    char state[12];
    size_t width;
    *more = 0;
    int rc = quern__sqlite_generation_width(s, id, &width, state, err);
    if (rc)
        return rc;
    if (strcmp(state, "active") == 0)
        return quern__fail(err, QUERN_EMISMATCH, id,
                           "generation %" PRId64 " is active; only others can be purged", id);
    return quern__sqlite_purge_slice(s, id, more, err);
}

/* Pages of the file that hold something. Pages that a purge empties are used again; whether the file itself becomes
 * shorter is for its owner to say (auto_vacuum, VACUUM). */
int quern__sqlite_space(void *self, uint64_t *bytes, quern_error *err)
{
    quern__sqlite *s = self;
    int64_t pages = 0, unused = 0, size = 0;
    *bytes = 0;
    int rc = quern__db_int(s->own, "PRAGMA page_count", &pages, err);
    if (rc >= 0)
        rc = quern__db_int(s->own, "PRAGMA freelist_count", &unused, err);
    if (rc >= 0)
        rc = quern__db_int(s->own, "PRAGMA page_size", &size, err);
    if (rc < 0)
        return rc;
    *bytes = (uint64_t)(pages - unused) * (uint64_t)size;
    return QUERN_OK;
}
