#!/usr/bin/python3
"""kekctl key list with several roots of trust: the root `site` is on token a, `spare` on b."""

import unittest

from test_kekctl_keys import PROVIDER, Keys


class Roots(Keys):
    def setUp(self):
        super().setUp()
        with open(self.path("f.yaml"), "w", encoding="utf-8") as file:
            file.write(f"listen: unix:///s\nkeyring: k\nstate_dir: {self.path('state')}\nproviders:\n")
            file.write("".join(PROVIDER.format(name=name, start_timeout=self.start_timeout) for name in ("a", "b")))
            file.write("mode: any\nroots:\n  - {name: site, providers: [a]}\n  - {name: spare, providers: [b]}\n")
        self.token("a", self.version(1, "WU"))
        self.token("b", self.version(2, "WU"))

    def test_all_roots_are_listed(self):
        code, out, err = self.run_it("list")
        self.assertEqual(code, 0, err)
        self.assertIn(f"{1:032x}", out)
        self.assertIn(f"{2:032x}", out)

    def one_is_out(self, out, well):
        self.token(out, login="refuse")
        code, text, err = self.run_it("list")
        self.assertIn(f"{well:032x}", text)
        self.assertIn(out + ": ", err)
        self.assertEqual(code, 3, err)

    def test_a_root_that_is_out_is_a_check_that_failed(self):
        self.one_is_out("a", well=2)

    def test_so_is_the_last_of_them(self):
        self.one_is_out("b", well=1)

    def test_a_list_of_nothing_has_failed(self):
        self.token("a", login="refuse")
        self.token("b", login="refuse")
        self.assertEqual(self.run_it("list")[0], 1)


if __name__ == "__main__":
    unittest.main()
