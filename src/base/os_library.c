/*
 * os_library.c — shared libraries that are opened while the program runs, because the user has them and asked.
 *
 * Symbols stay in the library's own scope (it may bring its own copy of what others bring too), and it is never
 * unmapped: the threads of such a library, and what it does when a thread ends, outlive the last call to it.
 */
#include "base/os.h"

#include <dlfcn.h>
#include <string.h>

#include "base/alloc.h"

struct quern__library {
    void *handle;
};

int quern__library_open(quern__library **out, const char *name, quern_error *err)
{
    *out = NULL;
    quern__library *l = quern__calloc(1, sizeof *l);
    if (!l)
        return quern__fail_memory(err, sizeof *l);
    l->handle = dlopen(name, RTLD_NOW | RTLD_LOCAL | RTLD_NODELETE);
    if (!l->handle) {
        const char *why = dlerror();
        quern__free(l);
        return quern__fail(err, QUERN_EUNSUPPORTED, 0, "%s", why ? why : name);
    }
    *out = l;
    return QUERN_OK;
}

quern__function quern__library_find(const quern__library *l, const char *symbol)
{
    quern__function f = NULL;
    void *at = dlsym(l->handle, symbol);
    memcpy(&f, &at, sizeof f); /* C has no cast from one kind of pointer to the other */
    return f;
}

void quern__library_close(quern__library *l)
{
    if (!l)
        return;
    dlclose(l->handle);
    quern__free(l);
}
