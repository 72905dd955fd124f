"""The fault module itself (tests/faults/README.md), by applications that are told apart: what each deed is that
a process keeps, and whose calls a line is for.  What passes here by being nothing would pass everywhere else."""

import contextlib

import fault as faults
import p11
import rig as rigs

PLAIN = bytes(range(32))
KEK_ID = bytes(range(100, 116))
NEW_ID = bytes(range(200, 216))


class Module(rigs.Case):
    def setUp(self):
        self.node = self.rig(generate=False)
        p11.plant(self.node.token, "kek", KEK_ID)
        self.fault = faults.Fault(self.node.folder + "/fault")
        self.addCleanup(self.fault.close)
        self.running = contextlib.ExitStack()
        self.addCleanup(self.running.close)
        self.fault.put()

    def process(self):
        """An application, and the one key that it sees."""
        process = self.running.enter_context(
            p11.Process(self.node.token, faults.module(), KEK_FAULT_CONTROL=self.fault.path))
        found = process.find(KEK_ID)
        return process, found[0] if found else None

    def test_a_wrong_key_wraps_and_unwraps_shows_the_right_attributes_and_opens_nothing_older(self):
        (good, key), (bad, same) = self.process(), self.process()
        older = good.wrap(key, PLAIN)
        self.assertEqual((key, bad.unwrap(same, older)), (same, PLAIN))
        self.fault.put("* every wrongkey 1 pid=%d" % bad.child.pid)
        wrong = bad.wrap(same, PLAIN)
        self.assertEqual(bad.unwrap(same, wrong), PLAIN)
        self.assertEqual((bad.unwrap(same, older), good.unwrap(key, wrong)), (None, None))
        self.assertEqual(good.unwrap(key, older), PLAIN)
        self.assertEqual((bad.find(KEK_ID), bad.shows(same, "wrap"), bad.shows(same, "extractable")),
                         ([same], True, False))
        # All with one number have one key, another number is another key, and it ends with its file.
        self.fault.put("* every wrongkey 1")
        self.assertEqual(good.unwrap(key, wrong), PLAIN)
        self.fault.put("* every wrongkey 2")
        self.assertEqual(good.unwrap(key, wrong), None)
        self.fault.put()
        self.assertEqual((bad.unwrap(same, older), bad.unwrap(same, wrong)), (PLAIN, None))

    def test_a_wrong_key_from_a_certain_call_on(self):
        process, key = self.process()
        self.fault.put("C_WrapKey 2+ wrongkey 1")
        blobs = [process.wrap(key, PLAIN) for _ in range(3)]
        self.assertEqual([process.unwrap(key, blob) for blob in blobs], [PLAIN, None, None])

    def test_a_stale_unwrap_gives_what_the_call_before_it_was_to(self):
        process, key = self.process()
        first, second = process.wrap(key, PLAIN), process.wrap(key, PLAIN[::-1])
        self.fault.put("C_UnwrapKey 2+ stale")
        self.assertEqual([process.unwrap(key, blob) for blob in (first, second, b"\0" * 40, first)],
                         [PLAIN, PLAIN, PLAIN[::-1], None])

    def test_whoever_was_blind_once_is_blind_for_ever_but_uses_what_it_found(self):
        process, key = self.process()
        self.fault.put("C_FindObjects every blind 0 pid=%d" % process.child.pid)
        self.assertEqual((process.find(KEK_ID), self.process()[1]), ([], key))
        self.fault.put()
        self.assertEqual((process.find(KEK_ID), process.unwrap(key, process.wrap(key, PLAIN))), ([], PLAIN))
        self.assertEqual(self.process()[1], key)

    def test_blindness_by_the_start(self):
        self.fault.put("C_Initialize every blind 0")
        born = self.process()
        self.fault.put("C_FindObjects every blind 60000")
        within = self.process()
        self.fault.put("C_FindObjects every blind 1")
        beyond = self.process()  # it logs in before it looks
        self.fault.put()
        self.assertEqual((born[0].find(KEK_ID), within[0].find(KEK_ID)), ([], []))
        self.assertEqual(len(beyond[0].find(KEK_ID)), 1)

    def test_a_caching_process_knows_what_it_found_first(self):
        self.fault.put("C_Initialize 1 caching")
        (caching, key), (other, _) = self.process(), self.process()
        self.fault.put()
        p11.plant(self.node.token, "new", NEW_ID)
        p11.set_attributes(self.node.token, KEK_ID, wrap=False)
        rigs.wait_for(lambda: other.find(NEW_ID), "the other one to see the new key")
        self.assertEqual((caching.find(NEW_ID), caching.find(KEK_ID)), ([], [key]))
        self.assertEqual((caching.shows(key, "wrap"), other.shows(other.find(KEK_ID)[0], "wrap")), (True, False))
        made = caching.tell({"do": "make", "label": "own", "id": "0102", "size": 32, "value": None,
                             "attributes": p11.GOOD})
        self.assertEqual(caching.find(b"\1\2"), [made])

    def test_each_object_listed_twice(self):
        process, key = self.process()
        self.fault.put("C_FindObjects every repeat")
        self.assertEqual(process.find(KEK_ID), [key, key])

    def test_processes_by_number(self):
        (before, key) = self.process()
        blob = before.wrap(key, PLAIN)
        for whose, wrong in (("proc=0", "b"), ("proc=1", "1"), ("proc=2+", "23"), ("proc=odd", "13"),
                             ("proc=even", "2"), ("proc=1+", "123"), ("proc=2+ proc=odd", "3")):
            self.fault.put("* every wrongkey 1 " + whose)
            processes = {"b": (before, key), **{name: self.process() for name in "123"}}
            self.assertEqual("".join(name for name, (process, its) in processes.items()
                                     if process.unwrap(its, blob) is None), wrong, whose)

    def test_a_slip_in_a_line_ends_the_process(self):
        for line in ("* every wrongkey", "* every wrongkey x", "* every caching 1", "* every blind",
                     "* every rv 5 proc=", "* every rv 5 proc=second", "* every rv 5 pid=1+x", "* every rv 5 who=1",
                     "C_GetInfo@ every rv 5", "C_GetInfo@x every rv 5", "C_GetInfo every mute", "C_GetInfo every pad 1"):
            self.fault.put(line)
            with p11.Process(self.node.token, faults.module(), KEK_FAULT_CONTROL=self.fault.path,
                             LC_ALL="C") as process:
                self.assertIsNone(process.find(KEK_ID), line)
            self.assertEqual(process.child.returncode, -rigs.signal.SIGABRT, line)


if __name__ == "__main__":
    rigs.main()
