/*
 * cmd_migrate.c — the versions of quern's own tables. Every command that writes brings them up by itself; this one
 * looks first, prints the SQL, and goes down again.
 */
#include "cli.h"

#include <stdio.h>
#include <string.h>

/* What a run would do: those versions whose up (or down) script it would run, in that order. */
typedef struct plan {
    const quern_migration *steps[64];
    size_t n;
    int down;
    int64_t from, to;
} plan;

static void make_plan(const cli *c, const quern_migration_list *l, plan *p)
{
    size_t n = quern_migration_list_count(l);
    memset(p, 0, sizeof *p);
    p->down = quern_config_is_set(c->config, "down");
    p->to = p->down ? (int64_t)quern_config_count(c->config, "down")
                    : quern_migration_list_at(l, n - 1)->version;
    for (size_t i = 0; i < n; i++)
        if (quern_migration_list_at(l, i)->applied_ms)
            p->from = quern_migration_list_at(l, i)->version;
    for (size_t i = 0; i < n; i++) {
        const quern_migration *m = quern_migration_list_at(l, p->down ? n - 1 - i : i);
        int goes = p->down ? m->applied_ms && m->version > p->to : !m->applied_ms;
        if (goes && p->n < sizeof p->steps / sizeof p->steps[0])
            p->steps[p->n++] = m;
    }
}

static int known(const quern_migration_list *l, int64_t version)
{
    int found = version == 0;
    for (size_t i = 0; i < quern_migration_list_count(l); i++)
        found |= quern_migration_list_at(l, i)->version == version;
    return found;
}

static void write_plan(const cli *c, const plan *p, int done)
{
    if (c->json) {
        put_object();
        put_key("from");
        put_signed(p->from);
        put_key("to");
        put_signed(p->n ? p->to : p->from);
        put_key("done");
        put_bool(done);
        put_key("migrations");
        put_array();
        for (size_t i = 0; i < p->n; i++) {
            put_object();
            put_key("version");
            put_signed(p->steps[i]->version);
            put_key("name");
            put_text(p->steps[i]->name);
            put_end_object();
        }
        put_end_array();
        put_end_object();
        put_line();
        return;
    }
    if (c->quiet)
        return;
    for (size_t i = 0; i < p->n; i++)
        out_printf("%s %04lld %s\n", p->down ? "down" : "up  ", (long long)p->steps[i]->version,
                   p->steps[i]->name);
    if (p->n == 0)
        out_printf("schema %lld: nothing to do\n", (long long)p->from);
    else
        out_printf("schema %lld%s %lld\n", (long long)p->from, done ? " became" : " would become",
                   (long long)p->to);
}

static void print_sql(const plan *p)
{
    for (size_t i = 0; i < p->n; i++)
        out_printf("-- %s %04lld %s\n%s\n", p->down ? "down" : "up",
                   (long long)p->steps[i]->version, p->steps[i]->name,
                   p->down ? p->steps[i]->down : p->steps[i]->up);
}

static int go(cli *c, const quern_store_options *opt, const plan *p, quern_error *err)
{
    quern_store *store = NULL;
    char question[160];
    if (p->n == 0)
        return QUERN_OK;
    if (!p->down) {
        int rc = quern_store_open(&store, opt, err);
        quern_store_free(store);
        return rc;
    }
    snprintf(question, sizeof question,
             "Go down from schema %lld to %lld, and lose what later versions keep?",
             (long long)p->from, (long long)p->to);
    int rc = confirm(c, question, err);
    return rc == QUERN_OK ? quern_migrate_down(opt, p->to, err) : rc;
}

int cmd_migrate(cli *c, quern_error *err)
{
    quern_store_options opt;
    quern_migration_list *l = NULL;
    plan p;
    int check = quern_config_flag(c->config, "check"),
        print = quern_config_flag(c->config, "print");
    int dry = quern_config_flag(c->config, "dry-run");
    store_options(c, 0, &opt);
    int rc = args_need(c, 0, 0, err);
    if (rc == QUERN_OK && check + print + dry > 1)
        rc = fail(err, QUERN_EINVAL, "migrate: one of --check, --print and --dry-run");
    if (rc == QUERN_OK)
        rc = quern_migration_list_open(&l, &opt, err);
    if (rc != QUERN_OK)
        return rc;
    make_plan(c, l, &p);
    (void)quern_config_flag(c->config, "yes"); /* asked for only where something is lost */
    if (!known(l, p.to))
        rc = fail(err, QUERN_ENOTFOUND, "there is no version %lld of the schema", (long long)p.to);
    else if (check && p.down)
        rc = fail(err, QUERN_EINVAL, "migrate: --check does not go with --down");
    else if (check && p.n)
        rc = fail(err, QUERN_EMISMATCH,
                  "schema %lld, this quern's is %lld; quern migrate brings it up",
                  (long long)p.from, (long long)p.to);
    else if (!check && !print && !dry)
        rc = go(c, &opt, &p, err);
    if (rc == QUERN_OK && print)
        print_sql(&p);
    else if (rc == QUERN_OK)
        write_plan(c, &p, !dry && !check);
    quern_migration_list_free(l);
    return rc;
}
