/*
 * quern/eval.h — reports of an evaluation as a gate: a generation is switched to only when a report about its very
 * fingerprint says that its searches are good enough. The format is in docs/generations.md.
 */
#ifndef QUERN_EVAL_H
#define QUERN_EVAL_H

#include "quern/status.h"

#ifdef __cplusplus
extern "C" {
#endif

/* The largest file that is read. */
#define QUERN_REPORT_BYTES (1 << 20)

/* Is this report about that fingerprint of that source, and did all metrics reach their thresholds? EMISMATCH with the code
 * gate_missed names the metric, its value and its threshold; EMISMATCH: it is about something else; EFORMAT: it is
 * no report, or contradicts itself; ENOTFOUND, EIO: no such file, or one that cannot be read. */
QUERN_API int quern_report_check(const char *json, size_t len, const char *source,
                                 const char *fingerprint, quern_error *err);
QUERN_API int quern_report_check_file(const char *path, const char *source, const char *fingerprint,
                                      quern_error *err);

#ifdef __cplusplus
}
#endif
#endif
