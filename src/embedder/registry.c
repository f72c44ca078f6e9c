/*
 * registry.c — models by name. An entry is a name and how its model is opened; what is open hangs behind it and is
 * counted by those who use it. An exchange hangs another one there; the one before is freed by whoever is its last user.
 *
 * Models are opened outside the mutex (seconds), one at a time for the whole registry: two that are opened at once would
 * each see room for itself. Who asks for an id while it is opened waits.
 *
 * Room is made while a model is opened: when its files have been read and what it will hold is known, before that is taken; a
 * process that runs out of memory at the open makes room, too. Only models that nobody uses go. Rejected: a guess by
 * config.json before the open, which knows neither the tokenizer's longest text nor the kernels' padding.
 *
 * Invariants, under the mutex: held is the sum of the bytes of all that is open, those no longer behind an entry included;
 * an open model is freed only with no user, and then once.
 */
#include "quern/registry.h"

#include <stdio.h>
#include <string.h>

#include "base/alloc.h"
#include "base/compiler.h"
#include "base/error.h"
#include "base/os.h"
#include "embedder/embedder.h"
#include "quern/shelf.h"

enum { MOST_ENTRIES = 1024, MOST_ID = 100, WAIT_MS = 50 };

/* An open model. */
typedef struct slot {
    struct slot *next; /* of all that are open */
    quern_embedder *e;
    uint64_t bytes, serial; /* serial: no other has had it */
    uint32_t users;
    bool out; /* no longer behind an entry */
    int precision;
    char made[65]; /* hash of its fingerprint */
} slot;

typedef struct entry {
    char id[MOST_ID + 1];
    char alias_of[MOST_ID + 1]; /* "" for a model */
    char *model, *packed;
    quern_model_options how;
    slot *open;     /* NULL: let go */
    char made[65];  /* hash of the fingerprint that it was loaded with; "" before */
    uint64_t bytes; /* it held when it was open last */
    double load_ms;
    int64_t last_used_ms;
    uint64_t used; /* by the registry's own count: a clock may stand still */
} entry;

struct quern_registry {
    quern_registry_options opt;
    char *shelf;
    quern__mutex *mutex;
    quern__cond *changed;
    /* under the mutex */
    entry **entries; /* by id */
    size_t n, room;
    slot *open;
    uint64_t held, uses, serials;
    bool opening;
};

/* ---- making and ending one ---- */

int quern_registry_new(quern_registry **out, const quern_registry_options *opt, quern_error *err)
{
    QUERN__REQUIRE(out, err);
    *out = NULL;
    QUERN__REQUIRE(!opt || opt->struct_size >= sizeof *opt, err);
    quern_registry *r = quern__calloc(1, sizeof *r);
    if (!r)
        return quern__fail_memory(err, sizeof *r);
    if (opt)
        r->opt = *opt;
    int rc = quern__mutex_new(&r->mutex, err);
    if (rc == QUERN_OK)
        rc = quern__cond_new(&r->changed, err);
    if (rc == QUERN_OK && opt && opt->shelf && !(r->shelf = quern__strdup(opt->shelf)))
        rc = quern__fail_memory(err, strlen(opt->shelf));
    r->opt.shelf = r->shelf;
    if (rc == QUERN_OK)
        *out = r;
    else
        quern_registry_free(r);
    return rc;
}

static void free_entry(entry *e)
{
    if (!e)
        return;
    quern__free(e->model);
    quern__free(e->packed);
    quern__free(e);
}

/* Takes a slot that nobody uses out of the list; its embedder is freed without the mutex. */
static quern_embedder *take_slot(quern_registry *r, slot *s)
{
    quern_embedder *e = s->e;
    for (slot **at = &r->open; *at; at = &(*at)->next)
        if (*at == s) {
            *at = s->next;
            break;
        }
    r->held -= s->bytes;
    quern__free(s);
    quern__cond_broadcast(r->changed);
    return e;
}

void quern_registry_free(quern_registry *r)
{
    if (!r)
        return;
    if (r->mutex && r->changed) {
        quern__mutex_lock(r->mutex);
        for (slot *s = r->open; s;) {
            if (s->users) {
                quern__cond_wait(r->changed, r->mutex);
                s = r->open;
                continue;
            }
            quern_embedder_free(take_slot(r, s));
            s = r->open;
        }
        quern__mutex_unlock(r->mutex);
    }
    for (size_t i = 0; i < r->n; i++)
        free_entry(r->entries[i]);
    quern__free(r->entries);
    quern__free(r->shelf);
    quern__cond_free(r->changed);
    quern__mutex_free(r->mutex);
    quern__free(r);
}

/* ---- entries ---- */

static int check_id(const char *id, quern_error *err)
{
    const size_t n =
        strspn(id, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._-:/");
    if (n == 0 || n > MOST_ID || id[n])
        return quern__fail(err, QUERN_EINVAL, 0,
                           "'%.100s' is no id of a model: 1 to %d letters, digits, '.', '_', '-', "
                           "':' or '/'",
                           id, MOST_ID);
    return QUERN_OK;
}

/* Where it is, or would be. */
static size_t place_of(const quern_registry *r, const char *id)
{
    size_t i = 0;
    while (i < r->n && strcmp(r->entries[i]->id, id) < 0)
        i++;
    return i;
}

static entry *find_entry(const quern_registry *r, const char *id)
{
    const size_t i = place_of(r, id);
    return i < r->n && strcmp(r->entries[i]->id, id) == 0 ? r->entries[i] : NULL;
}

/* The model of an id or alias. */
static entry *find_model(const quern_registry *r, const char *id)
{
    entry *e = find_entry(r, id);
    return e && e->alias_of[0] ? find_entry(r, e->alias_of) : e;
}

static int not_there(const quern_registry *r, const char *id, quern_error *err)
{
    char known[200] = "";
    for (size_t i = 0; i < r->n; i++) {
        const size_t at = strlen(known);
        if (at + strlen(r->entries[i]->id) + 3 < sizeof known)
            snprintf(known + at, sizeof known - at, "%s%s", at ? ", " : "", r->entries[i]->id);
    }
    return quern__fail(err, QUERN_ENOTFOUND, 0, "no model '%.100s' is loaded; there are: %s", id,
                       known[0] ? known : "none");
}

static int add_entry(quern_registry *r, entry *e, quern_error *err)
{
    if (r->n == MOST_ENTRIES)
        return quern__fail(err, QUERN_ENOMEM, MOST_ENTRIES, "more than %d models and aliases",
                           MOST_ENTRIES);
    if (r->n == r->room) {
        const size_t room = r->room ? 2 * r->room : 8;
        entry **grown = quern__resize_array(r->entries, room, sizeof(entry *));
        if (!grown)
            return quern__fail_memory(err, room * sizeof(entry *));
        r->entries = grown;
        r->room = room;
    }
    const size_t at = place_of(r, e->id);
    memmove(r->entries + at + 1, r->entries + at, (r->n - at) * sizeof(entry *));
    r->entries[at] = e;
    r->n++;
    return QUERN_OK;
}

static void remove_entry(quern_registry *r, entry *e)
{
    const size_t at = place_of(r, e->id);
    memmove(r->entries + at, r->entries + at + 1, (r->n - at - 1) * sizeof(entry *));
    r->n--;
    free_entry(e);
}

/* ---- room ---- */

/* The open model that nobody has used for longest goes; false: there is none. Called and left with the mutex. */
static bool let_one_go(quern_registry *r)
{
    entry *oldest = NULL;
    for (size_t i = 0; i < r->n; i++) {
        entry *e = r->entries[i];
        if (e->open && !e->open->users && (!oldest || e->used < oldest->used))
            oldest = e;
    }
    if (!oldest)
        return false;
    quern_embedder *embedder = take_slot(r, oldest->open);
    oldest->open = NULL;
    quern__mutex_unlock(r->mutex);
    quern_embedder_free(embedder);
    quern__mutex_lock(r->mutex);
    return true;
}

/* Of what cannot go. */
static uint64_t in_use(const quern_registry *r)
{
    uint64_t sum = 0;
    for (const slot *s = r->open; s; s = s->next)
        sum += s->users ? s->bytes : 0;
    return sum;
}

static bool fits(const quern_registry *r, uint64_t bytes)
{
    return !r->opt.memory_limit ||
           (bytes <= r->opt.memory_limit && r->held <= r->opt.memory_limit - bytes);
}

static int no_room(const quern_registry *r, const char *id, uint64_t bytes, quern_error *err)
{
    return quern__fail(err, QUERN_ENOMEM, (int64_t)bytes,
                       "%s needs %llu bytes, of %llu are %llu in use: unload a model, or raise the "
                       "limit",
                       id, (unsigned long long)bytes, (unsigned long long)r->opt.memory_limit,
                       (unsigned long long)in_use(r));
}

/* Nothing goes for a model that does not fit beside those that are in use. Called and left with the mutex. */
static int make_room(quern_registry *r, const char *id, uint64_t bytes, quern_error *err)
{
    const uint64_t limit = r->opt.memory_limit, used = in_use(r);
    int rc =
        limit && (bytes > limit || used > limit - bytes) ? no_room(r, id, bytes, err) : QUERN_OK;
    while (rc == QUERN_OK && !fits(r, bytes))
        if (!let_one_go(r))
            rc = no_room(r, id, bytes, err);
    return rc;
}

/* ---- opening ---- */

/* Asked by the model that is being opened, without the mutex, before it takes its memory. */
typedef struct asking {
    quern_registry *r;
    const char *id;
    bool refused;
} asking;

static int ask(void *ud, uint64_t bytes, quern_error *err)
{
    asking *a = ud;
    quern__mutex_lock(a->r->mutex);
    const int rc = make_room(a->r, a->id, bytes, err);
    quern__mutex_unlock(a->r->mutex);
    a->refused = rc != QUERN_OK;
    return rc;
}

/* Under the same name vectors of another kind would come, if what was let go came back from other files. */
static int check_made(quern_model *m, const char *id, const char *made, slot *s, quern_error *err)
{
    char *json = NULL;
    int rc = quern_model_fingerprint(m, &json, s->made, err);
    quern_free(json);
    if (rc == QUERN_OK && made[0] && strcmp(made, s->made) != 0)
        rc = quern__fail(err, QUERN_EMISMATCH, 0,
                         "%s: its files changed on disk since it was loaded; load it again", id);
    return rc;
}

/* made: hash of the fingerprint that it must have; "": any. */
static int open_embedder(asking *a, const char *folder, const char *made,
                         const quern_model_options *opt, slot *s, quern_error *err)
{
    const quern__bound bound = {ask, a};
    const quern_registry_options *how_all = &a->r->opt;
    quern_model *m = NULL;
    quern_model_info info;
    quern_embedder_options eo;
    quern_model_options how = *opt;
    QUERN_INIT(&info);
    QUERN_INIT(&eo);
    eo.threads = how_all->threads;
    eo.batch = how_all->batch;
    how.name = a->id;
    int rc = quern__model_open_bounded(&m, folder, &how, &bound, err);
    if (rc == QUERN_OK)
        rc = quern_model_describe(m, &info, err);
    if (rc == QUERN_OK)
        rc = check_made(m, a->id, made, s, err);
    if (rc == QUERN_OK)
        rc = quern_embedder_from_model(&s->e, m, &eo, err);
    s->bytes = info.held;
    s->precision = rc == QUERN_OK ? quern_precision_named(info.precision) : opt->precision;
    quern_model_free(m);
    return rc;
}

/* Opens under the bound. Called and left with the mutex, which is not held meanwhile; *out then counts in r->held. */
static int open_slot(quern_registry *r, const entry *e, slot **out, quern_error *err)
{
    asking a = {r, e->id, false};
    slot *s = quern__calloc(1, sizeof *s);
    int rc = s ? QUERN_OK : quern__fail_memory(err, sizeof *s);
    while (rc == QUERN_OK && !s->e) {
        quern__mutex_unlock(r->mutex);
        rc = open_embedder(&a, e->model, e->made, &e->how, s, err);
        quern__mutex_lock(r->mutex);
        if (rc == QUERN_ENOMEM && !a.refused && let_one_go(r))
            rc = QUERN_OK;
    }
    if (rc == QUERN_OK)
        rc = make_room(r, e->id, s->bytes, err);
    if (rc != QUERN_OK) {
        if (s)
            quern_embedder_free(s->e);
        quern__free(s);
        return rc;
    }
    s->serial = ++r->serials;
    s->next = r->open;
    r->open = s;
    r->held += s->bytes;
    *out = s;
    return QUERN_OK;
}

static void begin_opening(quern_registry *r)
{
    while (r->opening)
        quern__cond_wait(r->changed, r->mutex);
    r->opening = true;
}

static void end_opening(quern_registry *r)
{
    r->opening = false;
    quern__cond_broadcast(r->changed);
}

/* ---- load, unload, alias ---- */

static entry *new_entry(const char *id, const char *folder, const quern_model_options *opt,
                        quern_error *err)
{
    entry *e = quern__calloc(1, sizeof *e);
    if (e) {
        snprintf(e->id, sizeof e->id, "%s", id);
        QUERN_INIT(&e->how);
        if (opt)
            e->how = *opt;
        e->model = folder ? quern__strdup(folder) : NULL;
        e->packed = e->how.packed ? quern__strdup(e->how.packed) : NULL;
        e->how.name = NULL;
    }
    if (!e || (folder && !e->model) || (e->how.packed && !e->packed)) {
        quern__fail_memory(err, sizeof *e);
        free_entry(e);
        return NULL;
    }
    e->how.packed = e->packed;
    return e;
}

/* Under the mutex: what was behind the id is out, and freed if nobody uses it. */
static quern_embedder *put_out(quern_registry *r, entry *old)
{
    quern_embedder *idle = NULL;
    if (old->open) {
        old->open->out = true;
        idle = old->open->users ? NULL : take_slot(r, old->open);
        old->open = NULL;
    }
    return idle;
}

static int load_entry(quern_registry *r, entry *e, quern_embedder **idle, quern_error *err)
{
    entry *old = find_entry(r, e->id);
    if (old && old->alias_of[0])
        return quern__fail(err, QUERN_EEXISTS, 0, "%s is an alias of %s", e->id, old->alias_of);
    const uint64_t began = quern__now_ns();
    int rc = open_slot(r, e, &e->open, err);
    if (rc != QUERN_OK)
        return rc;
    e->how.precision = e->open->precision; /* what it was chosen to be it stays */
    memcpy(e->made, e->open->made, sizeof e->made);
    e->bytes = e->open->bytes;
    e->load_ms = (double)(quern__now_ns() - began) / 1e6;
    e->used = ++r->uses;
    old = find_entry(r, e->id); /* it may have gone meanwhile, or become an alias */
    if (old && old->alias_of[0])
        rc = quern__fail(err, QUERN_EEXISTS, 0, "%s is an alias of %s", e->id, old->alias_of);
    else if (old)
        r->entries[place_of(r, e->id)] = e;
    else
        rc = add_entry(r, e, err);
    if (rc != QUERN_OK) {
        *idle = put_out(r, e);
    } else if (old) {
        e->last_used_ms = old->last_used_ms;
        *idle = put_out(r, old);
        free_entry(old);
    }
    return rc;
}

int quern_registry_load(quern_registry *r, const char *id, const char *model,
                        const quern_model_options *opt, quern_error *err)
{
    QUERN__REQUIRE(r && id && model && *model, err);
    QUERN__REQUIRE(!opt || (opt->struct_size >= sizeof *opt && !opt->choose && !opt->runtime), err);
    quern_shelf_options shelf;
    quern_embedder *idle = NULL;
    char *folder = NULL;
    entry *e = NULL;
    QUERN_INIT(&shelf);
    shelf.folder = r->shelf;
    shelf.offline = 1;
    int rc = check_id(id, err);
    if (rc == QUERN_OK)
        rc = quern_shelf_find(model, &shelf, &folder, err);
    if (rc == QUERN_OK && !(e = new_entry(id, folder, opt, err)))
        rc = QUERN_ENOMEM;
    if (rc == QUERN_OK) {
        quern__mutex_lock(r->mutex);
        begin_opening(r);
        rc = load_entry(r, e, &idle, err);
        end_opening(r);
        quern__mutex_unlock(r->mutex);
    }
    quern_embedder_free(idle);
    if (rc != QUERN_OK)
        free_entry(e);
    quern__free(folder);
    return rc;
}

static bool is_open(const quern_registry *r, uint64_t serial)
{
    for (const slot *at = r->open; at; at = at->next)
        if (at->serial == serial)
            return true;
    return false;
}

int quern_registry_unload(quern_registry *r, const char *id, const quern_cancel *cancel,
                          quern_error *err)
{
    QUERN__REQUIRE(r && id, err);
    int rc = QUERN_OK;
    quern_embedder *idle = NULL;
    quern__mutex_lock(r->mutex);
    while (r->opening && rc == QUERN_OK) { /* it may be this one */
        if (quern_cancel_raised(cancel))
            rc = quern__fail(err, QUERN_ECANCELLED, 0,
                             "stopped waiting for a model that is being opened; %s stays", id);
        else
            quern__cond_wait_ms(r->changed, r->mutex, WAIT_MS);
    }
    entry *e = rc == QUERN_OK ? find_entry(r, id) : NULL;
    if (rc != QUERN_OK) {
        /* nothing has changed */
    } else if (!e || e->alias_of[0]) {
        rc = not_there(r, id, err);
    } else {
        const uint64_t serial = e->open ? e->open->serial : 0;
        idle = put_out(r, e);
        for (size_t i = r->n; i > 0; i--)
            if (strcmp(r->entries[i - 1]->alias_of, e->id) == 0)
                remove_entry(r, r->entries[i - 1]);
        remove_entry(r, e);
        while (rc == QUERN_OK && !idle && is_open(r, serial)) {
            if (quern_cancel_raised(cancel))
                rc = quern__fail(err, QUERN_ECANCELLED, 0, "stopped waiting for calls on %s", id);
            else
                quern__cond_wait_ms(r->changed, r->mutex, WAIT_MS);
        }
    }
    quern__mutex_unlock(r->mutex);
    quern_embedder_free(idle);
    return rc;
}

int quern_registry_alias(quern_registry *r, const char *alias, const char *id, quern_error *err)
{
    QUERN__REQUIRE(r && alias, err);
    int rc = check_id(alias, err);
    if (rc != QUERN_OK)
        return rc;
    quern__mutex_lock(r->mutex);
    entry *there = find_entry(r, alias);
    const entry *model = id ? find_model(r, id) : NULL;
    if (there && !there->alias_of[0])
        rc = quern__fail(err, QUERN_EEXISTS, 0, "%s is a model's own id", alias);
    else if (id ? !model : !there)
        rc = not_there(r, id ? id : alias, err);
    else if (!id)
        remove_entry(r, there);
    else if (there)
        memcpy(there->alias_of, model->id, sizeof model->id);
    else {
        there = new_entry(alias, NULL, NULL, err);
        rc = there ? QUERN_OK : QUERN_ENOMEM;
        if (rc == QUERN_OK) {
            memcpy(there->alias_of, model->id, sizeof model->id);
            rc = add_entry(r, there, err);
        }
        if (rc != QUERN_OK)
            free_entry(there);
    }
    quern__mutex_unlock(r->mutex);
    return rc;
}

/* ---- use ---- */

/* Opens what was let go. Called and left with the mutex; the entry may be another one afterwards. */
static int open_again(quern_registry *r, const char *id, quern_error *err)
{
    begin_opening(r);
    entry *e = find_model(r, id);
    int rc = QUERN_OK;
    if (e && !e->open) {
        /* the entry stays: unload waits for `opening`, load is another opening */
        const uint64_t began = quern__now_ns();
        rc = open_slot(r, e, &e->open, err);
        if (rc == QUERN_OK) {
            e->bytes = e->open->bytes;
            e->load_ms = (double)(quern__now_ns() - began) / 1e6;
            e->used = ++r->uses;
        }
    }
    end_opening(r);
    return rc;
}

int quern_registry_use(quern_registry *r, const char *id, quern_embedder **out, quern_error *err)
{
    QUERN__REQUIRE(out, err);
    *out = NULL;
    QUERN__REQUIRE(r && id, err);
    int rc = QUERN_OK;
    quern__mutex_lock(r->mutex);
    while (rc == QUERN_OK && !*out) {
        entry *e = find_model(r, id);
        if (!e) {
            rc = not_there(r, id, err);
        } else if (!e->open) {
            rc = open_again(r, id, err);
        } else {
            e->open->users++;
            e->used = ++r->uses;
            e->last_used_ms = quern__wall_ms();
            *out = e->open->e;
        }
    }
    quern__mutex_unlock(r->mutex);
    return rc;
}

void quern_registry_done(quern_registry *r, quern_embedder *e)
{
    if (!r || !e)
        return;
    quern_embedder *idle = NULL;
    quern__mutex_lock(r->mutex);
    for (slot *s = r->open; s; s = s->next)
        if (s->e == e && s->users) {
            s->users--;
            if (!s->users && s->out)
                idle = take_slot(r, s);
            else if (!s->users)
                quern__cond_broadcast(r->changed);
            break;
        }
    quern__mutex_unlock(r->mutex);
    quern_embedder_free(idle);
}

/* ---- list ---- */

typedef struct listed {
    char id[MOST_ID + 1], alias_of[MOST_ID + 1];
    char *model;
} listed;

struct quern_registry_entries {
    size_t n;
    quern_registry_entry *entries;
    listed *texts;
};

static int copy_entry(const quern_registry *r, const entry *e, quern_registry_entries *l,
                      quern_error *err)
{
    const entry *m = e->alias_of[0] ? find_entry(r, e->alias_of) : e;
    listed *t = &l->texts[l->n];
    memcpy(t->id, e->id, sizeof t->id);
    memcpy(t->alias_of, e->alias_of, sizeof t->alias_of);
    t->model = quern__strdup(m->model);
    if (!t->model)
        return quern__fail_memory(err, strlen(m->model));
    l->entries[l->n++] = (quern_registry_entry){.id = t->id,
                                                .model = t->model,
                                                .alias_of = t->alias_of[0] ? t->alias_of : NULL,
                                                .loaded = m->open != NULL,
                                                .bytes = m->bytes,
                                                .load_ms = m->load_ms,
                                                .last_used_ms = m->last_used_ms,
                                                .running = m->open ? m->open->users : 0};
    return QUERN_OK;
}

int quern_registry_list(quern_registry *r, quern_registry_entries **out, quern_error *err)
{
    QUERN__REQUIRE(out, err);
    *out = NULL;
    QUERN__REQUIRE(r, err);
    quern_registry_entries *l = quern__calloc(1, sizeof *l);
    if (!l)
        return quern__fail_memory(err, sizeof *l);
    quern__mutex_lock(r->mutex);
    l->entries = quern__calloc(r->n + 1, sizeof *l->entries);
    l->texts = quern__calloc(r->n + 1, sizeof *l->texts);
    int rc = l->entries && l->texts ? QUERN_OK : quern__fail_memory(err, r->n * sizeof *l->texts);
    for (size_t i = 0; rc == QUERN_OK && i < r->n; i++)
        rc = copy_entry(r, r->entries[i], l, err);
    quern__mutex_unlock(r->mutex);
    if (rc == QUERN_OK)
        *out = l;
    else
        quern_registry_entries_free(l);
    return rc;
}

size_t quern_registry_count(const quern_registry_entries *l)
{
    return l ? l->n : 0;
}

const quern_registry_entry *quern_registry_at(const quern_registry_entries *l, size_t i)
{
    return l && i < l->n ? &l->entries[i] : NULL;
}

void quern_registry_entries_free(quern_registry_entries *l)
{
    if (!l)
        return;
    for (size_t i = 0; l->texts && i < l->n; i++)
        quern__free(l->texts[i].model);
    quern__free(l->entries);
    quern__free(l->texts);
    quern__free(l);
}
