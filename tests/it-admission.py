#!/usr/bin/env python3
"""Who is let in, who goes first, and for how long: deadlines, priorities, limits of users, and what is said of all that.

Users are real ones: their connections are made by a child process with another uid, so the tests that need more than one
user need root."""

import json
import os
import shutil
import signal
import sys
import tempfile
import time

sys.dont_write_bytecode = True
from harness import (  # noqa: E402
    BUILD, PATIENCE, PROMPT, SLOW, STORIES, Answer, Case, figure, frozen, in_parallel, main, wait_until,
)

FOREVER = f"{int(10 * PATIENCE)}s"  # what holds a slot so long is not waited for
LONG = {"model": STORIES, "prompt": PROMPT, "max_tokens": 480, "ignore_eos": True, "temperature": 0}


def delay(how_long, model="delay", **fields):
    return {"model": model, "prompt": how_long, **fields}


class AdmissionCase(Case):
    def ask(self, d, body, path="/v1/completions", connection=None):
        """Sends it and does not wait for the answer."""
        c = connection or d.connect()
        c.request("POST", path, json.dumps(body))
        self.addCleanup(c.close)
        return c

    def jobs(self, d):
        s = d.status()["jobs"]
        return s["running"], s["waiting"]

    def wait_jobs(self, d, running, waiting):
        wait_until(lambda: self.jobs(d) == (running, waiting), f"{running} to run and {waiting} to wait")

    def check_free(self, d):
        """All is given back: the next request has its slot at once, and nobody holds anything."""
        wait_until(lambda: self.jobs(d) == (0, 0), "all jobs to be over")
        self.assertStatus(d.post("/v1/completions", delay("1ms")), 200)
        d.wait_idle()
        for user in d.status()["users"]:
            self.assertEqual((user["running"], user["waiting"]), (0, 0))
            self.assertLess(user["memory"], 64 * 1024, "but for the connection that asks")


class DeadlineTest(AdmissionCase):
    CONFIG = {
        "models": [
            {"name": "delay", "path": "builtin:delay", "slots": 1},
            {"name": "bounded", "path": "builtin:delay", "slots": 1, "deadline": "1s"},
            {"name": "impatient", "path": "builtin:delay", "slots": 1, "queue_timeout": "1s"},
        ]
    }

    def exceeded(self, answer):
        self.assertStatus(answer, 504)
        self.assertEqual(answer.json()["error"]["code"], "deadline_exceeded")
        return answer.error

    def test_running(self):
        """A job that runs is ended in the engine too: its slot is free at once. All ways to write it."""
        failed = self.d.outcomes()["failed"]
        for timeout in (0.2, "200ms", 1, "1"):
            began = time.monotonic()
            text = self.exceeded(self.d.post("/v1/completions", delay(FOREVER, timeout=timeout)))
            took = time.monotonic() - began
            self.assertGreaterEqual(took, 1 if timeout in (1, "1") else 0.2)
            self.assertIn("before the answer was complete", text)
            self.check_free(self.d)
        a = self.assertStatus(
            self.d.post("/api/generate", {**delay(FOREVER), "raw": True, "stream": False, "timeout": 0.2}), 504
        )
        self.assertIsInstance(a.json()["error"], str)
        self.check_free(self.d)
        self.assertEqual(self.d.outcomes()["failed"] - failed, 5)
        self.assertStatus(self.d.post("/v1/completions", delay("1ms", timeout=PATIENCE)), 200)
        self.assertStatus(self.d.post("/v1/completions", delay("1ms", timeout="forever")), 200)
        figure(f"a job of {FOREVER} with a timeout of {timeout} s was ended after {took:.3f} s")

    def test_waiting(self):
        self.ask(self.d, delay(FOREVER, timeout=PATIENCE))
        self.wait_jobs(self.d, 1, 0)
        text = self.exceeded(self.d.post("/v1/completions", delay("1ms", timeout=0.2)))
        self.assertIn("waited for a free slot", text)
        self.wait_jobs(self.d, 1, 0)

    def tearDown(self):
        self.doCleanups()  # clients leave
        self.check_free(self.d)

    def test_many_at_once(self):
        """Requests of many jobs that run out together: each is answered once, and the jobs are counted once."""
        before = self.d.outcomes()
        self.ask(self.d, delay(FOREVER, timeout=PATIENCE))
        self.wait_jobs(self.d, 1, 0)
        n, clients = 32, 20
        answers = in_parallel(
            [lambda: self.d.post("/v1/completions", delay("1ms", timeout=0.5, n=n)) for _ in range(clients)]
        )
        for a in answers:
            self.exceeded(a)
        self.wait_jobs(self.d, 1, 0)
        after = self.d.outcomes()
        # One job of a request fails; that ends the request, and cancels the others.
        self.assertEqual(after["failed"] - before["failed"], clients)
        self.assertEqual(after["cancelled"] - before["cancelled"], clients * (n - 1))

    def test_of_the_model(self):
        """The model's bound is for all requests; they may ask for less, not for more."""
        for fields in ({}, {"timeout": PATIENCE}, {"timeout": "forever"}):
            began = time.monotonic()
            self.exceeded(self.d.post("/v1/completions", delay(FOREVER, "bounded", **fields)))
            self.assertGreaterEqual(time.monotonic() - began, 1)
        self.exceeded(self.d.post("/v1/completions", delay(FOREVER, "bounded", timeout=0.1)))

    def test_queue_timeout(self):
        """The same mechanism: of the two, what comes first."""
        self.ask(self.d, delay(FOREVER, "impatient"))
        self.wait_jobs(self.d, 1, 0)
        a = self.assertStatus(self.d.post("/v1/completions", delay("1ms", "impatient", timeout=PATIENCE)), 503)
        self.assertEqual(a.json()["error"]["code"], "queue_timeout")
        self.exceeded(self.d.post("/v1/completions", delay("1ms", "impatient", timeout=0.1)))
        self.wait_jobs(self.d, 1, 0)  # it has its slot: queue_timeout is none of its business

    def test_in_mid_stream(self):
        """With an engine that hangs, too: the daemon needs nobody's help to keep time."""
        self.d.complete(max_tokens=1)
        for path, fields in (
            ("/v1/completions", {}),
            ("/v1/chat/completions", {"model": "stories-chat", "messages": [{"role": "user", "content": PROMPT}]}),
            ("/api/generate", {"raw": True, "options": {"num_predict": 480, "temperature": 0}}),
        ):
            with self.subTest(path):
                stream = self.d.stream(path, {**LONG, **fields, "timeout": 2})
                chunks = iter(stream)
                next(chunks)
                with frozen(self.d.engine_pid()):
                    last = None
                    for last in chunks:
                        pass
                stream.close()
                if last is None or "error" not in last:
                    self.skipTest("this machine was done in time")
                text = last["error"] if path.startswith("/api") else last["error"]["message"]
                self.assertIn("time ran out", text)
                if not path.startswith("/api"):
                    self.assertEqual(last["error"]["code"], "deadline_exceeded")
                    self.assertTrue(stream.done, "[DONE]")

    def test_bad_values(self):
        for value in (0, -1, "soon", "", True, [], {}, "-5s", "0s", 1e-9):
            with self.subTest(value=value):
                a = self.assertStatus(self.d.post("/v1/completions", delay("1ms", timeout=value)), 400)
                self.assertEqual(a.param, "timeout")
                self.assertIn("duration", a.error)
                a = self.assertStatus(
                    self.d.post("/api/generate", {**delay("1ms"), "stream": False, "timeout": value}), 400
                )
                self.assertIn("timeout", a.error)
        for value in (None, 1e300, 86400 * 365):
            self.assertStatus(self.d.post("/v1/completions", delay("1ms", timeout=value)), 200)


class EngineTest(AdmissionCase):
    """What waits and runs when an engine goes."""

    def start(self, config):
        self.libexec = tempfile.TemporaryDirectory()
        self.addCleanup(self.libexec.cleanup)
        self.install_engine()
        return super().start(config, env={"ZEROLLAMA_LIBEXEC": self.libexec.name})

    @property
    def engine(self):
        return os.path.join(self.libexec.name, "zerollama-engine")

    def install_engine(self):
        """A copy: the daemon executes what it found at its start, so an engine is taken away by its mode."""
        shutil.copy(os.path.join(BUILD, "zerollama-engine"), self.engine)

    def kill_engine(self, d):
        """And waits until that is known."""
        pid = wait_until(d.engine_pid, "an engine")
        os.kill(pid, signal.SIGKILL)
        wait_until(lambda: d.engine_pid() != pid, "its end")

    def test_many_fail_and_many_go_on(self):
        """More jobs than one turn of the loop takes: they all go on in the next engine, or all fail when there is none."""
        d = self.start({"models": [{"name": "delay", "path": "builtin:delay", "slots": 4}]})
        n = 300
        asked = [self.ask(d, delay(FOREVER)) for _ in range(n)]
        self.wait_jobs(d, 4, n - 4)
        self.kill_engine(d)
        self.wait_jobs(d, 4, n - 4)
        self.assertEqual(d.outcomes(), {"completed": 0, "failed": 0, "cancelled": 0, "refused": 0})
        os.chmod(self.engine, 0)
        self.kill_engine(d)
        for c in asked:
            a = self.assertStatus(Answer(c.getresponse()), 503)
            self.assertEqual(a.json()["error"]["code"], "engine_unavailable")
            self.assertIn("zerollama-engine", a.error)
            c.close()
        self.assertEqual(d.outcomes(), {"completed": 0, "failed": n, "cancelled": 0, "refused": 0})
        os.chmod(self.engine, 0o755)
        self.check_free(d)

    def test_age_is_not_waiting(self):
        """A job that has run longer than queue_timeout when its engine dies has not waited so long."""
        patience = 3 * SLOW
        d = self.start(
            {"models": [{"name": "delay", "path": "builtin:delay", "slots": 1, "queue_timeout": f"{patience:.0f}s"}]}
        )
        c = self.ask(d, delay(f"{patience + 1:.0f}s"))
        self.wait_jobs(d, 1, 0)
        time.sleep(patience + 0.2)
        self.kill_engine(d)
        self.assertStatus(Answer(c.getresponse()), 200)
        self.assertEqual(d.metrics()["zerollama_job_restarts_total"], 1)


class UserCase(AdmissionCase):
    """Daemons that other users can reach."""

    A, B = 65001, 65002  # nobody's

    def setUp(self):
        if os.geteuid() != 0:
            self.skipTest("needs root, to be other users")

    def start(self, config=None, **kw):
        d = super().start(config, **kw)
        os.chmod(d.dir, 0o711)
        return d

    def post_as(self, d, uid, body):
        return d.post("/v1/completions", body, connection=self.connect_as(d, uid))

    def user(self, d, uid):
        return next((u for u in d.status()["users"] if u["uid"] == uid), None)


class UserTest(UserCase):
    def test_limits_are_each_users_own(self):
        """A is at each of its limits in turn; B, and who has no limits, are let in all the while."""
        d = self.start(
            {
                "model_defaults": {"slots": 4},
                "limits": {"memory_per_user": "1MiB"},
                "users": [{"id": self.A, "jobs": 3, "queue": 1, "tokens_per_minute": 3000}, {"id": self.B, "jobs": 3}],
            }
        )
        self.assertStatus(self.post_as(d, self.A, delay("2s")), 200)  # now it is known how long A's last
        with frozen(d.engine_pid()):  # none has begun when the next comes, but slots are free: none of them counts as waiting
            held = [self.ask(d, delay(FOREVER), connection=self.connect_as(d, self.A)) for _ in range(3)]
            wait_until(lambda: sum(self.jobs(d)) == 3, "the jobs")
        self.wait_jobs(d, 3, 0)
        a = self.assertStatus(self.post_as(d, self.A, delay("1ms")), 429)
        self.assertIn("at once", a.error)
        self.assertEqual(a.json()["error"]["code"], "rate_limit_exceeded")
        self.assertGreaterEqual(int(a.headers["Retry-After-Ms"]), 2000)
        self.assertStatus(self.post_as(d, self.B, delay("1ms")), 200)
        for c in held[1:]:
            c.close()
        self.wait_jobs(d, 1, 0)
        # One of A's may wait, no more; B's wait beside it.
        others = [self.ask(d, delay(FOREVER)) for _ in range(3)]
        self.wait_jobs(d, 4, 0)
        waiting = self.ask(d, delay("1ms"), connection=self.connect_as(d, self.A))
        self.wait_jobs(d, 4, 1)
        self.assertIn("waiting", self.assertStatus(self.post_as(d, self.A, delay("1ms")), 429).error)
        bs = [self.ask(d, delay("1ms"), connection=self.connect_as(d, self.B)) for _ in range(3)]
        self.wait_jobs(d, 4, 4)
        self.assertEqual([self.user(d, u)["waiting"] for u in (self.A, self.B)], [1, 3])
        for c in others:
            c.close()
        for c in [waiting, *bs]:
            self.assertStatus(Answer(c.getresponse()), 200)
        held[0].close()
        self.wait_jobs(d, 0, 0)
        self.check_memory(d)
        self.check_tokens(d)

    def check_memory(self, d):
        """What B's prompts hold is B's: a body or a prompt too many is refused before it is kept."""
        d.complete(max_tokens=1)
        with frozen(d.engine_pid()):
            body = {**LONG, "prompt": "x" * 200000}  # held twice: as body and as job
            asked = []
            for n in range(2):
                asked.append(self.ask(d, body, connection=self.connect_as(d, self.B)))
                wait_until(lambda n=n: sum(self.jobs(d)) == n + 1, "the job")
            self.assertGreater(self.user(d, self.B)["memory"], 400000)
            a = self.assertStatus(self.post_as(d, self.B, {**body, "prompt": "x" * 700000}), 429)
            self.assertIn("memory", a.error)
            self.assertLessEqual(self.user(d, self.B)["memory"], 1 << 20)
            other = self.ask(d, body, connection=self.connect_as(d, self.A))
            wait_until(lambda: sum(self.jobs(d)) == 3, "A's job")
            for c in [*asked, other]:
                c.close()
            self.wait_jobs(d, 0, 0)
        wait_until(lambda: self.user(d, self.B)["memory"] == 0, "B's memory to be given back")

    def check_tokens(self, d):
        """Retry-After is honest: refused until then, admitted after it."""
        before = self.user(d, self.A)["tokens"]
        spend = {"model": "null", "prompt": "x", "max_tokens": 3100}
        self.assertStatus(self.post_as(d, self.A, spend), 200)
        self.assertGreater(self.user(d, self.A)["tokens"], before + 3099)
        a = self.assertStatus(self.post_as(d, self.A, delay("1ms")), 429)
        self.assertIn("tokens per minute", a.error)
        wait = int(a.headers["Retry-After-Ms"]) / 1000
        self.assertStatus(self.post_as(d, self.B, spend), 200)
        self.assertLessEqual(wait, int(a.headers["Retry-After"]))
        time.sleep(wait)
        self.assertStatus(self.post_as(d, self.A, delay("1ms")), 200)
        figure(f"tokens per minute used up: refused, told to wait {wait:.3f} s, and then admitted")

    def test_busy_user_waits_as_told(self):
        """At `jobs`, the time named is that in which one of the user's own requests ends."""
        d = self.start({"users": [{"id": self.A, "jobs": 2}]})
        self.assertStatus(self.post_as(d, self.A, delay("1s")), 200)
        for _ in range(2):
            self.ask(d, delay("1s"), connection=self.connect_as(d, self.A))
        self.wait_jobs(d, 2, 0)
        refused = 0
        while (a := self.post_as(d, self.A, delay("1ms"))).status == 429:
            refused += 1
            time.sleep(int(a.headers["Retry-After-Ms"]) / 1000)
        self.assertStatus(a, 200)
        self.assertIn(refused, (1, 2, 3), "a busy machine may need more than one turn")
        figure(f"a user at its limit of jobs was admitted after {refused} refusals")

    def first(self, d, ask_batch, ask_other):
        """Who of two that wait for one slot gets it, the first one asked being `ask_batch`."""
        for hold in ("1s", "5s", FOREVER):
            blocker = self.ask(d, delay(hold))
            self.wait_jobs(d, 1, 0)
            batch = ask_batch()
            wait_until(lambda: sum(self.jobs(d)) >= 2, "the batch job")
            other = ask_other()
            wait_until(lambda: sum(self.jobs(d)) >= 3 or hold != FOREVER, "the other job")
            in_time = self.jobs(d) == (1, 2)
            if hold == FOREVER:
                blocker.close()
            times = []

            def take(c):
                Answer(c.getresponse())
                times.append((time.monotonic(), c))

            in_parallel([lambda c=c: take(c) for c in (batch, other)])
            self.wait_jobs(d, 0, 0)
            if in_time:
                return "batch" if min(times, key=lambda t: t[0])[1] is batch else "other"
        raise AssertionError("not reached")

    def test_priority(self):
        """Batch work waits while anything interactive does, its own user's and anybody's; a user may be held to it."""
        d = self.start(
            {
                "models": [{"name": "delay", "path": "builtin:delay", "slots": 1}],
                "users": [{"id": self.A, "priority": "batch"}],
            }
        )
        d.post("/v1/completions", delay("1ms"))

        def job(uid, **fields):
            return lambda: self.ask(d, delay("300ms", **fields), connection=self.connect_as(d, uid))

        def generate(uid, **fields):
            body = {**delay("300ms"), "stream": False, **fields}
            return lambda: self.ask(d, body, "/api/generate", connection=self.connect_as(d, uid))

        def said(path, uid, **fields):
            messages = [{"role": "user", "content": "300ms"}]
            body = {"model": "delay", "messages": messages, "input": "300ms", "max_tokens": 9, **fields}
            return lambda: self.ask(d, body, path, connection=self.connect_as(d, uid))

        for what, batch, other, winner in (
            ("first come, first served", job(self.B), job(self.B), "batch"),
            ("one user's own", job(self.B, priority="batch"), job(self.B), "other"),
            ("OpenAI's word for it", job(self.B, service_tier="flex"), job(self.B, service_tier="default"), "other"),
            ("our word is stronger", job(self.B, service_tier="flex", priority="interactive"), job(self.B), "batch"),
            ("Ollama's dialect", generate(self.B, priority="batch"), job(self.B), "other"),
            ("OpenAI's responses", said("/v1/responses", self.B, priority="batch"), job(self.B), "other"),
            ("its word for it there", said("/v1/responses", self.B, service_tier="flex"), job(self.B), "other"),
            ("Anthropic's dialect", said("/v1/messages", self.B, priority="batch"), job(self.B), "other"),
            ("a user held to it", job(self.A, priority="interactive"), job(self.B), "other"),
        ):
            with self.subTest(what):
                self.assertEqual(self.first(d, batch, other), winner)
        self.assertEqual(self.user(d, self.A)["priority"], "batch")
        self.assertEqual(self.user(d, self.B)["priority"], "interactive")

    def test_what_is_said(self):
        """ps, status and metrics against what was done."""
        d = self.start({"models": [{"name": "delay", "path": "builtin:delay", "slots": 2}]})
        text = "The cat sat on the mat. " * 25
        usages = [
            self.assertStatus(self.post_as(d, uid, {**LONG, "prompt": text, "max_tokens": 5}), 200).json()["usage"]
            for uid in (self.A, self.B, self.B)
        ]
        cached = [u["prompt_tokens_details"]["cached_tokens"] for u in usages]
        self.assertEqual(cached[:2], [0, 0], "what others asked is theirs")
        self.assertGreater(cached[2], 0)
        for uid in (self.A, self.A, self.B):
            self.ask(d, delay(FOREVER), connection=self.connect_as(d, uid))
        self.wait_jobs(d, 2, 1)
        ps = {m["name"]: m for m in d.get("/api/ps").json()["models"]}
        held, used = ps["delay:latest"], ps[STORIES + ":latest"]
        self.assertEqual([held[k] for k in ("slots", "running", "waiting", "users", "requests")], [2, 2, 1, 2, 3])
        self.assertEqual([used[k] for k in ("running", "waiting", "users", "requests")], [0, 0, 0, 3])
        self.assertEqual(used["cached_tokens"], sum(cached))
        self.assertEqual(used["prompt_tokens"], sum(u["prompt_tokens"] for u in usages))
        self.assertGreater(used["size"], os.path.getsize(os.path.join(d.models, STORIES + ".gguf")) // 2)
        m = d.metrics()
        for name, of_delay, of_stories in (
            ("requests_running", 2, 0), ("requests_waiting", 1, 0), ("requests_total", 3, 3),
            ("cached_tokens_total", 0, sum(cached)), ("prompt_tokens_total", 0, used["prompt_tokens"]),
            ("generation_tokens_total", 0, 15), ("request_queue_time_seconds_count", 2, 3),
            ("time_to_first_token_seconds_count", 0, 3), ("inter_token_latency_seconds_count", 0, None),
            ("e2e_request_latency_seconds_count", 0, 3), ("kv_cache_usage_ratio", 0, None),
        ):
            got = [m[f'zerollama_{name}{{model="{model}"}}'] for model in ("delay", STORIES)]
            self.assertEqual(got[0], of_delay, name)
            if of_stories is not None:
                self.assertEqual(got[1], of_stories, name)
        for uid, running_and_waiting, requests, own in ((self.A, 2, 3, usages[:1]), (self.B, 1, 3, usages[1:])):
            u = self.user(d, uid)
            self.assertEqual(u["running"] + u["waiting"], running_and_waiting)
            self.assertEqual((u["requests"], u["tokens"]), (requests, sum(usage["total_tokens"] for usage in own)))
            for name, value in (("running", u["running"]), ("waiting", u["waiting"]), ("total", requests)):
                self.assertEqual(m[f'zerollama_user_requests_{name}{{uid="{uid}"}}'], value)
            self.assertEqual(m[f'zerollama_user_tokens_total{{uid="{uid}"}}'], u["tokens"])
        for process in ('process="daemon"', 'process="engine",pool="default"'):
            self.assertGreater(m[f"zerollama_loop_longest_seconds{{{process}}}"], 0)

    def test_users_are_bounded(self):
        """However many users come, the metrics have a bounded number of series."""
        d = self.start()
        for uid in range(70000, 70130):
            self.assertStatus(d.get("/health", connection=self.connect_as(d, uid)), 200)
        m = d.metrics()
        self.assertEqual(sum(k.startswith("zerollama_user_requests_total{") for k in m), 100)
        self.assertEqual(len(d.status()["users"]), 131)


if __name__ == "__main__":
    main()
