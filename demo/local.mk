# What demo/ installs: the model alone. The scripts that made it are in the source archive.
dist_pkgdata_DATA += demo/zerollama-demo.gguf
EXTRA_DIST += \
	demo/README.md demo/requirements.txt demo/expected.json \
	demo/words.py demo/intents.py demo/stories.py demo/corpus.py \
	demo/tokenizer.py demo/model.py demo/train.py demo/export.py demo/reference.py
