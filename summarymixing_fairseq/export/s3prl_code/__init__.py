"""An upstream of s3prl: these files and the modules that they import, in one folder beside the weights."""
