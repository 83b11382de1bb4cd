/* Messages that people and programs look for: MESSAGE_ID in the journal ("journalctl MESSAGE_ID=…"), explained by
 * systemd/zerollama.catalog ("journalctl -x"). An id never changes its meaning. */
#pragma once

#define MESSAGE_STARTED "3b9e2f6c1d0a4c58a2f47e9d5c8b1a60"
#define MESSAGE_RELOADED "6d41c07ab8e34f2f9b65d2a83f10c7e4"
#define MESSAGE_RELOAD_FAILED "9f0c5a73e2b846d1b7a83c64f19d20e5"
#define MESSAGE_ENGINE_DIED "c25b8e14f7a9403e8d6fb01753ea49c2"
#define MESSAGE_MODEL_FAILED "e8170d92b6c54b7fa93d4e60c81f5a3b"
#define MESSAGE_UNFINISHED "1af63d5c90e7482bb58c7f2604d3e9a8"
