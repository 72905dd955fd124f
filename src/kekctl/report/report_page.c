#include "report_page.h"

#include <stdio.h>
#include <string.h>

#include "report_files.h"

#define TITLE "Evidence of the keys of kekd"

static void show_section(struct page *page, const struct report_part *part, const json_t *section,
                         const char *root)
{
    char id[64], title[128];
    bool named = root[0] != '\0';
    snprintf(id, sizeof id, "%s%s%s", part->name, named ? "-" : "", root);
    snprintf(title, sizeof title, "%s%s%s", named ? root : "", named ? ": " : "", part->title);
    page_heading(page, 2, id, title);
    page_paragraph(page, part->says);
    if (json_array_size(json_object_get(section, "why")) > 0) {
        page_remark(page, strcmp(report_text(section, "filled"), "no") == 0
                              ? "This section could not be filled:"
                              : "What this section does not know or show:");
        page_points(page, json_object_get(section, "why"));
    }
    part->show(page, section);
}

static void show_part(struct page *page, const struct report_part *part, const json_t *json)
{
    size_t i;
    const json_t *root;
    if (part->make != NULL) {
        show_section(page, part, json_object_get(json, part->name), "");
        return;
    }
    json_array_foreach(json_object_get(json, "roots"), i, root)
    {
        show_section(page, part, json_object_get(root, part->name), report_text(root, "root"));
    }
}

static void show_head(struct page *page, const json_t *json, const char *sha256)
{
    static const struct column made[] = {
        {"at", "Made"}, {"node", "On node"}, {"by", "By"}, {"command", "With"}};
    static const struct column files[] = {{"file", "The report itself"},
                                          {"sha256", "Its SHA-256"},
                                          {"signature", "Signature"},
                                          {"algorithm", "Signed by"},
                                          {"public_key_sha256", "SHA-256 of the public key"}};
    const json_t *signature = json_object_get(json, "signature");
    json_t *row = json_pack("{s:s, s:s, s:s, s:s, s:s}", "file", REPORT_JSON, "sha256", sha256,
                            "signature", json_is_null(signature) ? "none" : REPORT_SIGNATURE,
                            "algorithm", report_text(signature, "algorithm"), "public_key_sha256",
                            report_text(signature, "public_key_sha256"));
    page->spoilt = page->spoilt || row == NULL;
    page_heading(page, 1, NULL, TITLE);
    page_paragraph(page, "Made by kekctl from what kekd, its tokens and its records say of "
                         "themselves on one node, at one time. This page shows the JSON file named "
                         "below and nothing else; the file is what is signed.");
    page_object(page, json_object_get(json, "made"), made, sizeof made / sizeof made[0]);
    page_object(page, row, files, json_is_null(signature) ? 3 : sizeof files / sizeof files[0]);
    json_decref(row);
}

static void show_attention(struct page *page, const json_t *json)
{
    const json_t *attention = json_object_get(json, "attention");
    page_heading(page, 2, "attention", "What wants attention");
    if (json_array_size(attention) == 0) {
        page_paragraph(page, "Nothing that this report looks at.");
        return;
    }
    page_remark(page, "Not as it must be:");
    page_points(page, attention);
}

void report_page(struct page *page, const json_t *json, const char *sha256)
{
    json_t *overview = report_overview(json);
    page_begin(page, TITLE);
    page->spoilt = overview == NULL;
    show_head(page, json, sha256);
    show_attention(page, json);
    page_heading(page, 2, "contents", "Sections");
    page_contents(page, overview);
    for (size_t i = 0; i < REPORT_PARTS; i++) {
        show_part(page, &report_parts[i], json);
    }
    page_end(page);
    json_decref(overview);
}
