/* ort_absent.c — in the place of ort.c and ort_api.c when quern is built without ONNX Runtime: opening says so, nothing else is ever
 * called. */
#include "encoder/ort.h"

int quern__ort_open(quern__ort **out, const char *path, const quern__ort_options *opt,
                    quern_error *err)
{
    (void)path, (void)opt;
    *out = NULL;
    return quern__fail(err, QUERN_EUNSUPPORTED, 0, "this quern is built without ONNX Runtime");
}

void quern__ort_free(quern__ort *o)
{
    (void)o;
}

uint32_t quern__ort_dimensions(const quern__ort *o)
{
    (void)o;
    return 0;
}

const char *quern__ort_version(const quern__ort *o)
{
    (void)o;
    return "";
}

const char *quern__ort_output(const quern__ort *o)
{
    (void)o;
    return "";
}

bool quern__ort_pools(const quern__ort *o)
{
    (void)o;
    return false;
}

const char *quern__ort_device_name(const quern__ort *o)
{
    (void)o;
    return "";
}

const char *quern__ort_device_note(const quern__ort *o)
{
    (void)o;
    return "";
}

int quern__ort_encode(const quern__ort *o, const quern__head *head, quern__pool *pool,
                      const int32_t *ids, const uint32_t *lengths, uint32_t n, bool normalize,
                      float *out, const quern_cancel *cancel, quern_error *err)
{
    (void)o, (void)head, (void)pool, (void)ids, (void)lengths, (void)n, (void)normalize, (void)out;
    (void)cancel, (void)err;
    return QUERN_EUNSUPPORTED;
}
