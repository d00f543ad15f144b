from merge import *
from concurrent.futures import ThreadPoolExecutor
f=sys.argv[1]
sd,lab=torch.load(f); k=int(lab.max())+1; h=sd["fc1.weight"].shape[0]
Z,ZV,ZT=gsum(X,lab),gsum(XV,lab),gsum(XT,lab)
sd0=sd
for lr,wd,ep,bs in ((.05,0,60,128),(.1,1e-5,60,128),(.02,0,60,32),(.2,0,60,128)):
    r=mnist_mlp(hidden=(h,),init="torch"); r.fc1=nn.Linear(k,h); r.load_state_dict(sd0)
    t=time.time(); fit(r,ep,lr,wd=wd,x=Z,bs=bs); print(lr,wd,ep,bs,"val",round(acc(r,ZV,YV),2),"test",round(acc(r,ZT,YT),2),"train",round(acc(r,Z[:20000],Y[:20000]),2),round(time.time()-t),flush=True)
