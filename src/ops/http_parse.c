#include "http.h"

#include <string.h>
#include <strings.h>

struct span {
    const char *at;
    size_t len;
};

static bool is_token_char(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
           (c != '\0' && strchr("!#$%&'*+-.^_`|~", c) != NULL);
}

static bool is_token(struct span text)
{
    for (size_t i = 0; i < text.len; i++) {
        if (!is_token_char(text.at[i])) {
            return false;
        }
    }
    return text.len > 0;
}

static bool equals(struct span text, const char *word)
{
    return text.len == strlen(word) && memcmp(text.at, word, text.len) == 0;
}

/* The next line without its end; false if it is not complete yet. */
static bool next_line(struct span *rest, struct span *line)
{
    const char *end = rest->len == 0 ? NULL : memchr(rest->at, '\n', rest->len);
    if (end == NULL) {
        return false;
    }
    size_t len = (size_t)(end - rest->at);
    *line = (struct span){rest->at, len > 0 && end[-1] == '\r' ? len - 1 : len};
    *rest = (struct span){end + 1, rest->len - len - 1};
    return true;
}

static bool next_word(struct span *line, struct span *word)
{
    const char *space = line->len == 0 ? NULL : memchr(line->at, ' ', line->len);
    size_t len = space == NULL ? line->len : (size_t)(space - line->at);
    *word = (struct span){line->at, len};
    size_t skip = space == NULL ? len : len + 1;
    *line = (struct span){line->at + skip, line->len - skip};
    return len > 0;
}

/* origin-form, or absolute-form as a proxy sends it (RFC 9112 section 3.2.2). */
static bool take_path(struct span target, char path[static HTTP_PATH_MAX])
{
    static const char scheme[] = "http://";
    if (target.len >= sizeof scheme - 1 && strncasecmp(target.at, scheme, sizeof scheme - 1) == 0) {
        const char *authority = target.at + sizeof scheme - 1;
        size_t left = target.len - (sizeof scheme - 1);
        const char *slash = left == 0 ? NULL : memchr(authority, '/', left);
        if (slash == NULL) {
            return false;
        }
        target = (struct span){slash, left - (size_t)(slash - authority)};
    }
    if (target.len == 0 || target.at[0] != '/') {
        return false;
    }
    for (size_t i = 0; i < target.len; i++) {
        if (target.at[i] <= 0x20 || target.at[i] == 0x7f) {
            return false;
        }
    }
    const char *query = memchr(target.at, '?', target.len);
    size_t len = query == NULL ? target.len : (size_t)(query - target.at);
    len = len < HTTP_PATH_MAX ? len : 0;
    memcpy(path, target.at, len);
    path[len] = '\0';
    return true;
}

static int parse_request_line(struct span line, struct http_request *request, bool *needs_host)
{
    struct span method, target;
    if (!next_word(&line, &method) || !next_word(&line, &target) || !is_token(method)) {
        return 400;
    }
    struct span version = line;
    if (version.len != 8 || memcmp(version.at, "HTTP/", 5) != 0) {
        return 400;
    }
    if (memcmp(version.at, "HTTP/1.", 7) != 0) {
        return 505;
    }
    if (version.at[7] < '0' || version.at[7] > '9') {
        return 400;
    }
    *needs_host = version.at[7] != '0';
    if (!equals(method, "GET") && !equals(method, "HEAD")) {
        return 405;
    }
    request->head = method.at[0] == 'H';
    return take_path(target, request->path) ? 200 : 400;
}

static bool parse_header(struct span line, bool *is_host)
{
    const char *colon = memchr(line.at, ':', line.len);
    if (colon == NULL) {
        return false;
    }
    struct span name = {line.at, (size_t)(colon - line.at)};
    for (const char *c = colon; c < line.at + line.len; c++) {
        if (((unsigned char)*c < 0x20 && *c != '\t') || *c == 0x7f) {
            return false;
        }
    }
    *is_host = name.len == 4 && strncasecmp(name.at, "host", 4) == 0;
    return is_token(name);
}

int http_parse(const char *data, size_t len, struct http_request *request)
{
    struct span rest = {data, len < HTTP_REQUEST_MAX ? len : HTTP_REQUEST_MAX};
    struct span first, line;
    bool bad = false, needs_host = false;
    unsigned hosts = 0;
    bool have_first = next_line(&rest, &first);
    for (;;) {
        if (!have_first || !next_line(&rest, &line)) {
            return len >= HTTP_REQUEST_MAX ? 431 : 0;
        }
        if (line.len == 0) {
            break;
        }
        bool is_host = false;
        bad = !parse_header(line, &is_host) || bad;
        hosts += is_host;
    }
    struct http_request parsed = {0};
    int status = parse_request_line(first, &parsed, &needs_host);
    if (status == 200 && (bad || hosts > 1 || (needs_host && hosts == 0))) {
        status = 400;
    }
    if (status == 200) {
        *request = parsed;
    }
    return status;
}
