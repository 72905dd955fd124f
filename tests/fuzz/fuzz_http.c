/* Requests to the metrics port. */
#include "fuzz.h"

#include <string.h>

#include "src/ops/http.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    /* A copy of exactly this length, so that a byte read past it is seen. */
    char *text = malloc(size == 0 ? 1 : size);
    FUZZ_CHECK(text != NULL);
    memcpy(text, data, size);
    struct http_request request = {.path = "untouched"};
    int status = http_parse(text, size, &request);
    if (status == 200) {
        FUZZ_CHECK(memchr(request.path, '\0', sizeof request.path) != NULL);
        FUZZ_CHECK(request.path[0] == '/' || request.path[0] == '\0');
    } else {
        FUZZ_CHECK(strcmp(request.path, "untouched") == 0);
        FUZZ_CHECK(status == 0 || status == 400 || status == 405 || status == 431 || status == 505);
        FUZZ_CHECK(status != 0 || size < HTTP_REQUEST_MAX);
    }
    free(text);
    return 0;
}
