"""The methods that RCLRec is compared with, one file each."""
