"""People's judgements of faces: to be stored, queued, agreed upon and handed to training. Free of torch."""
