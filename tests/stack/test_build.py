"""`infra/build`: what it packs, and what it refuses.

What lives here: the script on stand-ins for programs. What may not: building the real ones.
"""

import io
import os
import pathlib
import subprocess
import tempfile
import unittest
import zipfile

from stack import FUNCTIONS, ROOT

ELF = b"\x7fELF and then the program"


class Build(unittest.TestCase):
    def setUp(self):
        home = tempfile.TemporaryDirectory(prefix="muster-build-")
        self.addCleanup(home.cleanup)
        self.binaries, self.zips = pathlib.Path(home.name, "binaries"), pathlib.Path(home.name, "zips")
        self.binaries.mkdir()
        for name in FUNCTIONS:
            self.program(name, ELF + name.encode())

    def program(self, name, content):
        (self.binaries / f"muster-{name}").write_bytes(content)

    def build(self, **variables):
        variables = os.environ | {"MUSTER_INFRA_BINARIES": str(self.binaries)} | variables
        return subprocess.run([ROOT / "infra" / "build", self.zips], env=variables, capture_output=True, text=True)

    def test_a_zip_is_the_program_as_bootstrap_and_the_prefix_names_the_content(self):
        first, again = self.build(), self.build()
        self.assertEqual((first.returncode, first.stdout), (0, again.stdout), first.stderr)
        self.assertRegex(first.stdout, r"^muster/[0-9a-f]{16}\n$")
        for name in FUNCTIONS:
            with zipfile.ZipFile(io.BytesIO((self.zips / f"{name}.zip").read_bytes())) as archive:
                [entry] = archive.infolist()
                self.assertEqual((entry.filename, entry.external_attr >> 16), ("bootstrap", 0o100755))
                self.assertEqual(archive.read(entry), ELF + name.encode())
        self.program("door", ELF + b"another")
        self.assertNotEqual(self.build().stdout, first.stdout)

    def test_what_would_not_start_is_refused(self):
        for name, content, why in [
            ("door", b"#!/bin/sh\n", "no program for Linux"),
            ("scaler", ELF + b"\0GLIBC_2.9\0GLIBC_2.35\0", "needs glibc 2.35, more than 2.34"),
        ]:
            with self.subTest(name=name):
                self.program(name, content)
                refused = self.build(MUSTER_INFRA_GLIBC_MAX="2.34")
                self.assertNotEqual(refused.returncode, 0)
                self.assertIn(why, refused.stderr)
                self.program(name, ELF)
        self.program("scaler", ELF + b"\0GLIBC_2.34\0")
        self.assertEqual(self.build(MUSTER_INFRA_GLIBC_MAX="2.34").returncode, 0)
        # It may run where it was built, as in the tests: so this is a warning there.
        self.program("scaler", ELF + b"\0GLIBC_2.35\0")
        warned = self.build()
        self.assertEqual(warned.returncode, 0)
        self.assertIn("WARNING", warned.stderr)
        (self.binaries / "muster-registrar").unlink()
        self.assertIn("muster-registrar is not there", self.build().stderr)


if __name__ == "__main__":
    unittest.main()
