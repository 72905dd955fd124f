#include "http.h"

#include <stdio.h>

const char *http_reason(int status)
{
    switch (status) {
    case 200:
        return "OK";
    case 400:
        return "Bad Request";
    case 403:
        return "Forbidden";
    case 404:
        return "Not Found";
    case 405:
        return "Method Not Allowed";
    case 431:
        return "Request Header Fields Too Large";
    case 503:
        return "Service Unavailable";
    case 505:
        return "HTTP Version Not Supported";
    default:
        return "Internal Server Error";
    }
}

size_t http_head(int status, const char *type, size_t len, char head[static HTTP_HEAD_MAX])
{
    int written = snprintf(head, HTTP_HEAD_MAX,
                           "HTTP/1.1 %d %s\r\nContent-Type: %s\r\nContent-Length: %zu\r\n"
                           "Cache-Control: no-store\r\n%sConnection: close\r\n\r\n",
                           status, http_reason(status), type, len,
                           status == 405 ? "Allow: GET, HEAD\r\n" : "");
    return written < HTTP_HEAD_MAX ? (size_t)written : HTTP_HEAD_MAX - 1;
}
