"""Lists of recordings as others write them, and our own manifests read again."""
