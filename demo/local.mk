# What demo/ installs: the model alone, among the models that come with the installation. The scripts that made it are in
# the source archive.
demodir = $(pkgdatadir)/models
dist_demo_DATA = demo/demo.gguf
EXTRA_DIST += \
	demo/README.md demo/requirements.txt demo/expected.json \
	demo/words.py demo/intents.py demo/stories.py demo/corpus.py \
	demo/tokenizer.py demo/model.py demo/train.py demo/export.py demo/reference.py
