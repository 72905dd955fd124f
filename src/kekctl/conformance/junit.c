#include "junit.h"

#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "kek/auto.h"

static const char *text(const json_t *object, const char *key)
{
    const char *value = json_string_value(json_object_get(object, key));
    return value == NULL ? "" : value;
}

static json_int_t number(const json_t *object, const char *key)
{
    return json_integer_value(json_object_get(object, key));
}

/* Any text, which is UTF-8, as XML's character data or the value of an attribute; XML 1.0 knows
 * no way to write most control characters. */
static void put(FILE *out, const char *value)
{
    for (const unsigned char *at = (const unsigned char *)value; *at != '\0'; at++) {
        switch (*at) {
        case '&':
            fputs("&amp;", out);
            break;
        case '<':
            fputs("&lt;", out);
            break;
        case '>':
            fputs("&gt;", out);
            break;
        case '"':
            fputs("&quot;", out);
            break;
        case 0xef: /* U+FFFE and U+FFFF are no characters of XML (XML 1.0, section 2.2): U+FFFD is */
            if (at[1] == 0xbf && at[2] >= 0xbe) {
                fputs("\xef\xbf\xbd", out);
                at += 2;
                break;
            }
            fputc(*at, out);
            break;
        default:
            fputc(*at < ' ' || *at == 0x7f ? ' ' : *at, out);
        }
    }
}

static void put_attribute(FILE *out, const char *name, const char *value)
{
    fprintf(out, " %s=\"", name);
    put(out, value);
    fputc('"', out);
}

static void put_property(FILE *out, const char *name, const char *value)
{
    fputs("   <property", out);
    put_attribute(out, "name", name);
    put_attribute(out, "value", value);
    fputs("/>\n", out);
}

/* The schema has a date without a zone. */
static void put_date(FILE *out, const char *date)
{
    char whole[20];
    snprintf(whole, sizeof whole, "%.19s", date);
    put_attribute(out, "timestamp", whole);
}

static void put_seconds(FILE *out, json_int_t ms)
{
    fprintf(out, " time=\"%lld.%03lld\"", (long long)(ms / 1000), (long long)(ms % 1000));
}

static void put_outcome(FILE *out, const json_t *item)
{
    const char *outcome = text(item, "outcome"), *says = text(item, "says");
    const char *code = text(json_object_get(item, "native"), "name");
    if (strcmp(outcome, "PASS") == 0) {
        fputs("   <system-out>", out);
        put(out, says);
        fputs("</system-out>\n", out);
        return;
    }
    bool failed = strcmp(outcome, "FAIL") == 0;
    fprintf(out, "   <%s", failed ? "failure" : "skipped");
    if (failed) {
        put_attribute(out, "type", code[0] != '\0' ? code : text(item, "cause"));
    }
    fprintf(out, " message=\"%s%s", failed ? "" : outcome, failed ? "" : ": ");
    put(out, says);
    if (!failed) {
        fputs("\"/>\n", out);
        return;
    }
    fputs("\">", out);
    put(out, text(item, "title"));
    fputs(": ", out);
    put(out, says);
    fputs("</failure>\n", out);
}

static json_int_t put_cases(FILE *out, const json_t *run)
{
    size_t i;
    const json_t *item;
    json_int_t took_ms = 0;
    json_array_foreach(json_object_get(run, "cases"), i, item)
    {
        took_ms += number(item, "took_ms");
        fputs("  <testcase", out);
        put_attribute(out, "name", text(item, "name"));
        fputs(" classname=\"kekctl.conformance.", out);
        put(out, text(run, "provider"));
        fputc('"', out);
        put_seconds(out, number(item, "took_ms"));
        fputs(">\n", out);
        put_outcome(out, item);
        fputs("  </testcase>\n", out);
    }
    return took_ms;
}

static void put_counts(FILE *out, const json_t *run, json_int_t took_ms)
{
    const json_t *summary = json_object_get(run, "summary");
    fprintf(out, " tests=\"%zu\" failures=\"%lld\" errors=\"0\" skipped=\"%lld\"",
            json_array_size(json_object_get(run, "cases")), (long long)number(summary, "fail"),
            (long long)(number(summary, "not_supported") + number(summary, "skipped")));
    put_seconds(out, took_ms);
}

static void put_head(FILE *out, const json_t *run, json_int_t took_ms)
{
    const json_t *token = json_object_get(run, "token");
    static const char *const facts[] = {"label", "serial", "model", "firmware", "library"};
    char host[65] = "";
    if (gethostname(host, sizeof host - 1) != 0) {
        snprintf(host, sizeof host, "localhost");
    }
    fputs("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<testsuites name=\"kekctl conformance\"",
          out);
    put_counts(out, run, took_ms);
    fputs(">\n <testsuite", out);
    put_attribute(out, "name", "kekctl conformance");
    put_counts(out, run, took_ms);
    put_date(out, text(run, "began"));
    put_attribute(out, "hostname", host);
    fputs(">\n  <properties>\n", out);
    put_property(out, "provider", text(run, "provider"));
    put_property(out, "type", text(run, "type"));
    put_property(out, "kekctl", text(run, "kekctl"));
    for (size_t i = 0; i < sizeof facts / sizeof facts[0]; i++) {
        char name[32];
        snprintf(name, sizeof name, "token.%s", facts[i]);
        put_property(out, name, text(token, facts[i]));
    }
    fputs("  </properties>\n", out);
}

char *junit_text(const json_t *run)
{
    KEK_AUTO_FREE char *cases = NULL, *whole = NULL;
    size_t len;
    FILE *out = open_memstream(&cases, &len);
    if (out == NULL) {
        return NULL;
    }
    json_int_t took_ms = put_cases(out, run);
    bool good = ferror(out) == 0;
    good = fclose(out) == 0 && good;
    out = good ? open_memstream(&whole, &len) : NULL;
    if (out == NULL) {
        return NULL;
    }
    put_head(out, run, took_ms);
    fputs(cases, out);
    fputs(" </testsuite>\n</testsuites>\n", out);
    good = ferror(out) == 0;
    good = fclose(out) == 0 && good;
    return good ? KEK_STEAL(whole) : NULL;
}
