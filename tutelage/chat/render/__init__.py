"""Conversations to token ids and loss weights, and generated ids back to messages.

Training, chat, evaluation and serving all render here, so a model answers the very prompt it was trained on. How a
conversation becomes an example, and where to look when a mask is wrong (docs/masks.md):

    make.py         picks the renderer of a model: `native` where it has no chat template, else `hf`
    native.py       Tutelage's own template (template.py, native_text.py) -> a Layout
    hf.py           a checkpoint's own template (hf_template.py: Jinja)   -> a Layout
      hf_text.py    what that template writes, and what it has a place for
      adapt.py      conversations written so that it has (each change is noted)
      last_answer.py  the last answer, where it is written otherwise as history
      outline.py    what the template writes around the texts
      end_token.py  which token ends an assistant turn
      cache.py      conversations that need no run of the template
    layout.py       Layout: the text, and which segments of it are trained
    encoding.py     text to tokens (bpe_cache.py: faster)                 -> Encoded
    assemble.py     THE MASK: a token has the weight of the segment in which it begins
    verify.py       checks ids and mask against the layout, or refuses the conversation

What renderers return is in renderer.py, the chat files of a model's folder are in config.py, and documents.py renders
texts without a template.
"""

# Part of the fingerprint of every renderer, and of every store of documents. Raise it with every change that gives a
# conversation or a document other ids, weights, roles or spans, or another verdict: finished stores are then rendered
# again.
RENDERING = 4
